# SPDX-License-Identifier: Apache-2.0
"""The process that runs administrators' programs: its loop, and each kind of program it runs."""
