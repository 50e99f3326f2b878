# SPDX-License-Identifier: Apache-2.0
"""The data plane's access to the kernel: libbpf, BTF, layouts, loading, pins, attaching."""
