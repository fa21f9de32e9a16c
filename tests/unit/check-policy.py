#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every method of the D-Bus contract has its line in the bus policy, and no line allows what is not in there.

    check-policy.py SOURCE_ROOT

A method without a line is refused by the bus for everybody but root and never reaches polkit (systemd #3585)."""

import os
import sys
import tempfile
import xml.etree.ElementTree as ET

# Interface → policy file and bus name; methods that are deliberately for root alone.
SERVICES = {
    'org.hero.Compute': ('Manager', 'VM', 'User', 'Job'),
    'org.hero.Compute.Images': ('Images', 'Image', 'ImageJob'),
    'org.hero.Compute.Metrics': ('Metrics',),
}
ROOT_ONLY = {('org.hero.Compute.Images', 'Open')}


def contract(root, service, interfaces):
    """(interface, method) pairs of the documented XML."""
    for name in interfaces:
        path = os.path.join(root, 'dbus', f'org.hero.Compute.{name}.xml')
        for interface in ET.parse(path).getroot().findall('interface'):
            for method in interface.findall('method'):
                yield interface.get('name'), method.get('name')


def policy(root, service):
    """The same pairs as the default context of the policy allows them."""
    tree = ET.parse(os.path.join(root, 'dbus', f'{service}.conf')).getroot()
    default = [p for p in tree.findall('policy') if p.get('context') == 'default']
    rules = [rule for p in default for rule in p]
    if not rules or rules[0].tag != 'deny' or rules[0].get('send_destination') != service:
        yield 'policy', 'does not begin with a deny'
    for rule in rules:
        if rule.tag == 'allow' and (rule.get('send_interface') or '').startswith('org.hero.'):
            yield rule.get('send_interface'), rule.get('send_member') or 'every method'


def problems(root):
    for service, interfaces in SERVICES.items():
        wanted = set(contract(root, service, interfaces)) - ROOT_ONLY
        allowed = set(policy(root, service))
        for interface, method in sorted(wanted - allowed):
            yield f'dbus/{service}.conf: no line for {interface}.{method}'
        for interface, method in sorted(allowed - wanted):
            yield f'dbus/{service}.conf: {interface}: {method}: not a method of the contract that all may call'


def finds_a_missing_line(root):
    """The check itself must be able to fail: one line less must be noticed."""
    with tempfile.TemporaryDirectory() as copy:
        os.mkdir(os.path.join(copy, 'dbus'))
        for name in os.listdir(os.path.join(root, 'dbus')):
            with open(os.path.join(root, 'dbus', name), encoding='utf-8') as f:
                lines = f.readlines()
            with open(os.path.join(copy, 'dbus', name), 'w', encoding='utf-8') as f:
                f.writelines(line for line in lines if 'send_member="ProvisionUser"' not in line)
        return list(problems(copy)) == ['dbus/org.hero.Compute.conf: no line for org.hero.Compute.Manager.ProvisionUser']


def main():
    root = sys.argv[1]
    found = list(problems(root))
    if not found and not finds_a_missing_line(root):
        found = ['check-policy.py does not notice a line taken away']
    for p in found:
        print(p, file=sys.stderr)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
