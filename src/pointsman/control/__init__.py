# SPDX-License-Identifier: Apache-2.0
"""Control protocol: messages, framing, client and server of a running director, run-time paths."""
