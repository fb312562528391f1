"""`python -m tests.policy_truth`: precision and recall of each detector, a JSON object a line; --errors: what was wrong, too."""

from __future__ import annotations

import argparse
import json
import sys

from tests.policy_truth.score import TRUTH, scores


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.policy_truth", description=__doc__)
    parser.add_argument("--errors", action="store_true", help="each row that was not as expected")
    parser.add_argument("--all", action="store_true", help="the excluded rows, too")
    chosen = parser.parse_args()
    if not TRUTH.is_dir():
        sys.stderr.write(f"no {TRUTH}\n")
        return 2
    for one in scores(exclude=not chosen.all):
        print(json.dumps(one.fields()))
        for error in one.errors if chosen.errors else ():
            print("   ", json.dumps(error, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
