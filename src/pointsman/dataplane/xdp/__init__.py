# SPDX-License-Identifier: Apache-2.0
"""The data plane in XDP or tc: bpf/ is its packet path, this package loads it and writes its tables."""
