#!/usr/bin/env python3
"""Measures Vidicon beside a baseline in the same run.  ./run bench [NAME...] [--json FILE] [--seconds S]
Each row: value, unit, baseline, ratio (value / baseline), goal, pass. Load stays on loopback."""
import argparse
import json
import platform
import sys

import rows


def machine():
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    cores = sum(1 for l in open("/proc/cpuinfo") if l.startswith("processor"))
    return f"{model}, {cores} cores, Linux {platform.release()}"


def show(row):
    fmt = lambda v: "-" if v is None else f"{v:.4g}"
    mark = {True: "pass", False: "FAIL", None: "-"}[row["pass"]]
    print(f"{row['name']:28} {fmt(row['value']):>9} {row['unit']:20} baseline {fmt(row['baseline']):>9}  ratio {fmt(row['ratio']):>7}  "
          f"goal {row['goal']:34} {mark}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(rows.ROWS)}")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--seconds", type=float, default=15, help="how long each load is measured")
    args = parser.parse_args()
    unknown = [n for n in args.names if n not in rows.ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(rows.ROWS)}")
    print(machine())
    results = []
    for name in args.names or rows.ROWS:
        try:
            row = {"name": name, **rows.ROWS[name](args)}
        except rows.Skipped as why:
            print(f"{name:28} skipped: {why}", flush=True)
            continue
        results.append(row)
        show(row)
    if args.json:
        with open(args.json, "w") as out:
            json.dump({"machine": machine(), "rows": results}, out, indent=1)
    sys.exit(0 if all(r["pass"] is not False for r in results) else 1)


if __name__ == "__main__":
    main()
