# SPDX-License-Identifier: Apache-2.0
"""The kernel's network state over netlink, and raw packet sockets."""
