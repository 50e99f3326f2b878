# SPDX-License-Identifier: Apache-2.0
"""The synchronisation of connections between directors: its datagrams, and what one director does. No I/O."""
