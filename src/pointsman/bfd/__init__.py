# SPDX-License-Identifier: Apache-2.0
"""The protocol core of BFD: packets and the state machine of a session."""
