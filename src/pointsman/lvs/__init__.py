# SPDX-License-Identifier: Apache-2.0
"""The core of load balancing: desired table, reconcile, ipvsadm's language."""
