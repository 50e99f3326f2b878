# SPDX-License-Identifier: Apache-2.0
"""Rules of the doctor. Pure: facts in, findings out."""
