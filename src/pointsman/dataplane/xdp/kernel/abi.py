# SPDX-License-Identifier: Apache-2.0
"""Read the names and the hash of the ABI from the BPF object."""

from __future__ import annotations

import errno

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import btf, layout


def read_object() -> tuple[layout.Vocabulary, str]:
    """Return the names in the BPF object, and the hash of its ABI. Raises DataPlaneError."""
    try:
        types = btf.TypeInformation(layout.OBJECT)
        return layout.Vocabulary(types), layout.check(types)
    except FileNotFoundError as error:
        raise DataPlaneError(
            errno.ENOENT, f"the BPF object {layout.OBJECT} is missing: build it with `make -C bpf`"
        ) from error
    except ValueError as error:
        raise DataPlaneError(
            errno.EINVAL,
            f"the BPF object does not fit this pointsman ({error}): build it anew with `make -C bpf`",
        ) from error
