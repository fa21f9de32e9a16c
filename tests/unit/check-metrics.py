#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every series that is exported is in docs/metrics.md with its type, the dashboard uses no other, and metrics have one name each
in source, bus contract, JSON schema and documentation.

    check-metrics.py SOURCE_ROOT"""

import json
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
problems = []


def read(path):
    return (root / path).read_text(encoding='utf-8')


def compare(what, one, other, where):
    for name in sorted(one - other):
        problems.append(f'{what} {name} is not in {where}')
    for name in sorted(other - one):
        problems.append(f'{where} has the {what} {name}, which does not exist')


def expressions(value):
    """Every query in a dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ('expr', 'definition', 'query') and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def main():
    types = {'COUNTER_LEVEL': 'gauge', 'COUNTER_TOTAL': 'counter', 'COUNTER_TOTAL_USEC': 'counter'}
    exported = {(n, types[t]) for n, t in re.findall(r'\{ "(hero_vm_\w+)", (\w+), "', read('src/metricsd/metric.c'))}
    assert len(exported) > 15, 'this check looks for series in the wrong way'
    exported |= set(re.findall(r'add_head\(t, "(\w+)", "(\w+)", ', read('src/metricsd/prometheus.c')))
    documented = set(re.findall(r'^\| `(hero_\w+)` \| (\w+) \|', read('docs/metrics.md'), re.M))
    compare('series', {f'{n} ({t})' for n, t in exported}, {f'{n} ({t})' for n, t in documented}, 'docs/metrics.md')

    dashboard = json.loads(read('docs/grafana/hero-compute.json'))
    used = set(re.findall(r'\bhero_\w+', ' '.join(expressions(dashboard))))
    assert len(used) > 10, 'this check looks for queries in the wrong way'
    for name in sorted(used - {n for n, _ in exported}):
        problems.append(f'the dashboard uses {name}, which is not exported')
    ids = [p['id'] for p in dashboard['panels']]
    if len(set(ids)) != len(ids):
        problems.append('two panels of the dashboard have the same id')

    metrics = re.findall(r'\{ "(\w+)", "\w+", METRIC_', read('src/metricsd/metric.c'))
    compare('metric', set(metrics), set(re.findall(r'^\| `((?!hero_|vm\.)\w+_\w+)` \| [^|]+ \|$', read('docs/metrics.md'), re.M)),
            'docs/metrics.md')
    schema = json.loads(read('docs/schemas/openrpc.json'))['components']['schemas']['MetricPoint']['properties']
    compare('metric', set(metrics), set(schema) - {'timestamp'}, 'the schema MetricPoint')
    for p in problems:
        print(p, file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
