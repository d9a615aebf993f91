# SPDX-License-Identifier: Apache-2.0
"""Work that any number of processes share and that resumes after a kill."""
