# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the daemon processes: channels, event loop, privileges, programs."""
