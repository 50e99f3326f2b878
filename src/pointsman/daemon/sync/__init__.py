# SPDX-License-Identifier: Apache-2.0
"""The process of connection_sync: moves whole runs of records between the data plane and the network."""
