# SPDX-License-Identifier: Apache-2.0
"""What every job records of itself."""

from filterlens.run.folder import provenance


def test_provenance_names_versions_time_and_command():
    record = provenance()
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert record["created"].endswith("+00:00") and record["command"]
