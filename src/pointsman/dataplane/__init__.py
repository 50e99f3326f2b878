# SPDX-License-Identifier: Apache-2.0
"""Data planes, which apply a service table to packets. All of them implement `interface.DataPlane`."""
