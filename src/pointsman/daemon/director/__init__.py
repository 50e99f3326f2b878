# SPDX-License-Identifier: Apache-2.0
"""The director process: service table, data plane, status, reload, mail."""
