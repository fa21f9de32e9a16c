#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every method of the D-Bus contract and of JSON-RPC either only tells something or is audited: a new one cannot be forgotten.

    check-audit.py SOURCE_ROOT"""

import pathlib
import re
import sys
import tempfile
import xml.etree.ElementTree as ET

# By their names. Open, which root alone may call, gives an image to read.
READS = re.compile(r'Get.*|List.*|Wait|Logs|EventsSince|Diagnose|Open|Query|Latest|Export')

# Of JSON-RPC. Who opens the console of vm.console.endpoint is told by console-endpoint.c, when it is opened.
RPC_READS = re.compile(r'info|health|rpc\.discover|\w+\.(list|get|tail|query)|user\.vm|vm\.(logs|wait|console\.endpoint|metrics\.query)|'
                       r'metrics\.\w+')


def methods(root):
    for path in sorted((root / 'dbus').glob('*.xml')):
        for interface in ET.parse(path).getroot().iter('interface'):
            for method in interface.iter('method'):
                yield f'{interface.get("name").rpartition(".")[2]}.{method.get("name")}'


def audited(root):
    """What the tables of access say."""
    compute = (root / 'src/compute/access.c').read_text(encoding='utf-8')
    imaged = (root / 'src/imaged/access.c').read_text(encoding='utf-8')
    changing = set(re.findall(r'#define (\w+) ACTION_\w+, \w+, true\n', compute))
    assert changing == {'MANAGE', 'ACCESS'}, changing
    for interface, member, kind in re.findall(r'\{ "(\w+)", "(\w+)", (\w+) \}', compute):
        if kind in changing:
            yield f'{interface}.{member}'
    for interface, member in re.findall(r'\{ "(\w+)", "(\w+)", "\w[\w-]*" \}', imaged):
        yield f'{interface}.{member}'


def problems(root):
    wanted = {m for m in methods(root) if not READS.fullmatch(m.partition('.')[2])}
    found = set(audited(root))
    for m in sorted(wanted - found):
        yield f'{m} changes something, by its name, and no table of access.c has it audited'
    for m in sorted(found - wanted):
        yield f'{m} is audited, and is not a method that changes something'


def rpc_problems(table):
    rows = re.findall(r'\{ "([a-z][\w.]*)",\s+"(?:[^"\\]|\\.)*",\s+ACCESS_\w+,\s+(true\b)?', table)
    if len(rows) < 20 or len(rows) != len(re.findall(r'\.handler = ', table)):
        yield f'{len(rows)} methods of JSON-RPC are not as many as there are: this check looks for them in the wrong way'
    for name, changes in rows:
        if bool(RPC_READS.fullmatch(name)) == bool(changes):
            yield f'{name} of JSON-RPC is {"" if changes else "not "}audited, which its name does not say'


def finds_a_new_method(root):
    """The check itself must be able to fail."""
    with tempfile.TemporaryDirectory() as name:
        copy = pathlib.Path(name)
        for file in [*(root / 'dbus').glob('*.xml'), root / 'src/compute/access.c', root / 'src/imaged/access.c']:
            to = copy / file.relative_to(root)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(file.read_text(encoding='utf-8').replace('<method name="Hold">', '<method name="Mould">'),
                          encoding='utf-8')
        table = (root / 'src/rpcd/method.c').read_text(encoding='utf-8').replace('"vm.logs"', '"vm.logout"')
        return len(list(problems(copy))) == 2 and len(list(rpc_problems(table))) == 1


def main():
    root = pathlib.Path(sys.argv[1])
    found = [*problems(root), *rpc_problems((root / 'src/rpcd/method.c').read_text(encoding='utf-8'))]
    if not found and not finds_a_new_method(root):
        found = ['check-audit.py does not notice a new method']
    for p in found:
        print(p, file=sys.stderr)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
