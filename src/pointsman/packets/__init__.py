# SPDX-License-Identifier: Apache-2.0
"""Packets as bytes: every header that more than one room of this project reads or writes, once.

Addresses are packed bytes, MAC addresses are 6 bytes. Encoders return bytes. Decoders take any bytes and
raise WireError, and nothing else.
"""
