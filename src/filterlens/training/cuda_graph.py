# SPDX-License-Identifier: Apache-2.0
"""Recording work as a CUDA graph."""

from collections.abc import Callable

import torch


class CudaGraphRecorder:
    """Records on a side stream, as capturing demands; what it returns replays on the current stream.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None]) -> None:
        """Run ``work`` on the side stream, after what the current one does and before what it will do."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the kernels of ``work`` without running them; return what replays them on the same memory.

        Raises:
            RuntimeError: The work waits for the device, or does something else that cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # The outer context brings the current stream back even where ending a broken capture raises.
        with torch.cuda.stream(self._stream), torch.cuda.graph(graph, stream=self._stream):
            work()
        return graph.replay
