# SPDX-License-Identifier: Apache-2.0
"""What dbus/*.xml promises is what is there."""

import pathlib
import xml.etree.ElementTree as ET

import pytest
from bus_client import JOB, MANAGER, ROOT, USER, VM, spec, user_path, vm_path

DBUS = pathlib.Path(__file__).resolve().parents[3] / 'dbus'
EMITS = 'org.freedesktop.DBus.Property.EmitsChangedSignal'


def annotation(element, name, default):
    return next((a.get('value') for a in element.findall('annotation') if a.get('name') == name), default)


def interface(xml, name):
    i = next(i for i in ET.fromstring(xml).iter('interface') if i.get('name') == name)
    arguments = lambda e, default: [(a.get('name'), a.get('type'), a.get('direction', default)) for a in e.findall('arg')]
    return {
        'methods': {m.get('name'): arguments(m, 'in') for m in i.findall('method')},
        'signals': {s.get('name'): [(n, t) for n, t, _ in arguments(s, None)] for s in i.findall('signal')},
        'properties': {p.get('name'): (p.get('type'), p.get('access'), annotation(p, EMITS, 'true'))
                       for p in i.findall('property')},
    }


def introspect(host, path):
    return host.root.call(path, 'org.freedesktop.DBus.Introspectable', 'Introspect')


def documented(name):
    return interface((DBUS / f'{name}.xml').read_text(), name)


@pytest.mark.parametrize('name', [MANAGER, VM, USER, JOB])
def test_live_introspection_is_the_documented_interface(host, name):
    host.images.behaviour['Open'] = 'hold'
    vm, job = host.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec())
    path = {MANAGER: ROOT, VM: vm, USER: user_path('alice'), JOB: job}[name]
    live, xml = interface(introspect(host, path), name), documented(name)
    for kind in live:
        assert live[kind] == xml[kind]
    host.images.release()
    host.root.job(job)


def test_introspection_lists_the_nodes(host):
    assert host.root.provision('alice') == ('done', '')
    for path, child in ((ROOT, 'vm'), (ROOT, 'user'), (f'{ROOT}/vm', 'alice'), (f'{ROOT}/user', 'alice')):
        nodes = [n.get('name') for n in ET.fromstring(introspect(host, path)).findall('node')]
        assert child in nodes, (path, nodes)


def test_managed_objects_are_all_vms_users_and_jobs_with_all_their_properties(host):
    assert host.root.create('plain') == ('done', '')
    assert host.root.provision('alice') == ('done', '')
    host.images.known['other'] = 'sha256:' + '11' * 32
    host.images.behaviour['Open'] = 'hold'
    vm, job = host.root.manager('CreateVM', 'sa{sv}', 'late', spec(Image='other'))
    objects = host.root.call(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    assert set(objects) == {vm_path('plain'), vm_path('alice'), vm_path('late'), user_path('alice'), job}
    for path, kind in ((vm_path('plain'), VM), (user_path('alice'), USER), (job, JOB)):
        assert set(objects[path][kind]) == set(documented(kind)['properties'])
    assert objects[vm_path('alice')][VM]['State'] == 'running'
    assert objects[vm_path('late')][VM]['Job'] == job
    assert objects[user_path('alice')][USER]['VM'] == ('alice', vm_path('alice'))
    host.images.release()
    host.root.job(job)


def test_objects_that_are_not_there_are_unknown(host):
    for path in (vm_path('none'), user_path('none'), f'{ROOT}/job/99', f'{ROOT}/job/01', f'{ROOT}/vm/a_zz'):
        with pytest.raises(Exception) as e:
            host.root.call(path, 'org.freedesktop.DBus.Properties', 'GetAll', 's', '')
        assert e.value.name in ('org.freedesktop.DBus.Error.UnknownObject', 'org.freedesktop.DBus.Error.UnknownMethod'), e.value
