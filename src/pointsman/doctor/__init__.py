# SPDX-License-Identifier: Apache-2.0
"""The doctor: find problems of direct routing on this host and their remedies."""
