# SPDX-License-Identifier: Apache-2.0
"""The processes of a running director (supervisor, vrrp, director, checker) and their messages."""
