# SPDX-License-Identifier: Apache-2.0
"""The core of health checking: schedules, requests, answers, alerts."""
