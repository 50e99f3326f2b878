# SPDX-License-Identifier: Apache-2.0
"""From the model back to text."""
