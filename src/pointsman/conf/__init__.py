# SPDX-License-Identifier: Apache-2.0
"""keepalived.conf: from text to the model, and back."""
