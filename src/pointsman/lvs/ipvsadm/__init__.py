# SPDX-License-Identifier: Apache-2.0
"""ipvsadm's language for any data plane: command line, errors and listings."""
