# SPDX-License-Identifier: Apache-2.0
"""The jobs behind the commands and the app: each reads files, calls the library and writes results."""
