# SPDX-License-Identifier: Apache-2.0
"""One branch against two at equal computation, and checks that the two-branch networks serve their purpose."""
