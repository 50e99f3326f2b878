# SPDX-License-Identifier: Apache-2.0
"""`python -m pointsman`, for where the command is not on the path."""

from pointsman.cli.main import main

main(prog_name="pointsman")
