"""The core of health checking: schedules, requests, answers, alerts."""
