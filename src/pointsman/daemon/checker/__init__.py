# SPDX-License-Identifier: Apache-2.0
"""The checker process: runs probes, reports results."""
