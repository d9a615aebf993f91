# SPDX-License-Identifier: Apache-2.0
"""The jobs that the command line and the app start: each reads files, calls the library, and writes a run folder."""
