# SPDX-License-Identifier: Apache-2.0
"""The published numbers of the paper, for the column next to ours. Nothing is computed from them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published mean and standard deviation over seeds."""

    mean: float
    sd: float

    def __str__(self) -> str:
        return f"{self.mean:g} ± {self.sd:g}"


def _row(text: str) -> dict[str, Published]:
    names = ("faig", "ig", "change-relative", "random")
    values = [Published(*map(float, cell.split("±"))) for cell in text.split()]
    return dict(zip(names, values, strict=True))


# (pair, degradation, percent) → method → own damage, MSE x 1000 in the reference metric (tables 1 and 2; the authors'
# talk). "abs. change" of the paper is relative in the reference implementation. SRResNet was judged on Set14, the
# SRCNN-style network on BSDS100, on the images on which the filters were found.
MASKING: dict[tuple[str, str, float], dict[str, Published]] = {
    ("srresnet-x2", "blur:2", 1.0): _row("6.68±0.63 4.31±1.54 0.18±0.13 0.07±0.01"),
    ("srresnet-x2", "blur:2", 5.0): _row("7.53±0.24 6.41±0.88 2.16±0.61 0.55±0.32"),
    ("srresnet-x2", "noise:0.1", 1.0): _row("6.62±0.54 4.22±0.44 0.49±0.10 0.04±0.01"),
    ("srresnet-x2", "noise:0.1", 5.0): _row("16.28±3.84 8.01±1.04 3.25±1.85 0.19±0.05"),
    ("srcnn-style-x2", "blur:2", 1.0): _row("5.02±0.36 0.74±0.42 0.63±0.65 0.05±0.02"),
    ("srcnn-style-x2", "blur:2", 5.0): _row("5.74±0.29 2.53±1.02 2.18±0.25 0.45±0.07"),
    ("srcnn-style-x2", "noise:0.1", 1.0): _row("1.40±0.37 0.28±0.11 0.63±0.35 0.02±0.00"),
    ("srcnn-style-x2", "noise:0.1", 5.0): _row("4.86±0.90 0.93±1.05 2.01±0.12 0.11±0.01"),
}

# pair → the test set on which the masking tables were made
TEST_SETS = {"srresnet-x2": "set14", "srcnn-style-x2": "bsds100"}

# input → upper bound, in dB PSNR (re-training 1 % of the baseline's filters)
RETRAINING_BOUND = {"blur:2": Published(29.203, 0.021), "noise:0.1": Published(26.712, 0.008)}
# (input, whose locations) → method → PSNR in dB
RETRAINING: dict[tuple[str, str], dict[str, Published]] = {
    ("blur:2", "blur:2"): _row("28.047±.023 26.474±.295 26.758±.103 27.028±.154"),
    ("blur:2", "noise:0.1"): _row("27.463±.133 26.656±.265 26.746±.139 27.041±.149"),
    ("noise:0.1", "blur:2"): _row("25.590±.071 25.233±.051 25.444±.008 25.525±.037"),
    ("noise:0.1", "noise:0.1"): _row("25.793±.021 25.465±.014 25.448±.009 25.526±.010"),
}

# degradation → (threshold, accuracy)
CLASSIFICATION = {"noise:0.1": (0.6, 0.98), "blur:2": (0.5, 0.96)}

# degradation → the strengths λ that the paper finds best
MODULATION = {"noise:0.1": (0.8, 1.0), "blur:2": (1.1, 1.2)}

# setting → (two branches, one branch), in dB PSNR; of neither are test set, scale, noise level and channel published
BRANCHES = {
    "DAN blur": (Published(26.168, 0.009), Published(26.182, 0.011)),
    "DAN blur+noise": (Published(27.341, 0.072), Published(27.288, 0.027)),
    "DASR blur": (Published(27.518, 0.034), Published(27.573, 0.010)),
    "DASR blur+noise": (Published(25.116, 0.012), Published(25.143, 0.013)),
}

# (peer, scale) → parameters, as the peers' own papers say
PEER_PARAMETERS = {("dan", 4): 4.33e6, ("dasr", 4): 5.8e6}

# (peer, scale, test; empty: mean over Gaussian8) → PSNR of Y in dB on the whole of Set14, from the peers' own papers
PEER_QUALITY = {
    ("dan", 2, ""): 33.08,
    ("dan", 4, ""): 28.42,
    ("dasr", 2, "clean"): 33.34,
    ("dasr", 2, "blur:0.6"): 32.96,
    ("dasr", 2, "blur:1.2"): 32.78,
    ("dasr", 2, "blur:1.8"): 31.60,
}
