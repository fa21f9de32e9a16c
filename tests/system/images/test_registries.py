# SPDX-License-Identifier: Apache-2.0
"""How images are found: names, mirrors, tags that move, credentials, certificates; and archives instead of registries."""

import base64
import json

import pytest

from registry import IMAGES_DIRECTORY, PASSWORD, PORT, TLS_NAME, USER

CERTIFICATES = f'/etc/containers/certs.d/{TLS_NAME}'


def blobs(requests):
    return [r for r in requests if '/blobs/' in r]


def test_a_short_name_means_docker_io_and_one_with_a_registry_means_that(images, registry):
    digest = images.pulled('alpine')
    assert images.pulled('docker.io/library/alpine:latest') == digest
    assert images.pulled(f'127.0.0.1:{PORT}/library/alpine') == digest
    assert images.pulled(f'docker.io/library/alpine@{digest}') == digest
    listed = images.list()
    assert {listed[r]['digest'] for r in listed if 'alpine' in r} == {digest}
    assert 'alpine:latest' in listed and 'docker.io/library/alpine:latest' in listed and f'127.0.0.1:{PORT}/library/alpine:latest' in listed


def test_what_is_here_is_not_fetched_again_and_a_digest_that_is_here_is_not_even_asked_for(images, hostile):
    reference = hostile.reference('good')
    digest = images.pulled(reference)
    hostile.forget_requests()
    assert images.pulled(reference) == digest
    asked = hostile.requests()
    assert asked and not blobs(asked), asked
    hostile.forget_requests()
    assert images.pulled(reference.rpartition(':')[0] + '@' + digest) == digest
    assert hostile.requests() == []


def test_a_moved_tag_points_elsewhere_and_leaves_vms_as_they_are(host, images, hostile):
    reference = hostile.reference('moving-tag')
    first = images.pulled(reference)
    host.heroctl('create', 'first', '--hypervisor=mock', '--image', reference)
    hostile.move('moving-tag')
    assert images.list()[reference]['digest'] == first
    second = images.pulled(reference)
    assert second != first and images.list()[reference]['digest'] == second
    host.heroctl('create', 'second', '--hypervisor=mock', '--image', reference)
    assert (host.get('first', 'ImageDigest'), host.get('second', 'ImageDigest')) == (first, second)
    images.call('Prune', 'a{sv}', {})
    for name in ('first', 'second'):
        host.heroctl('start', name)
    assert images.show(first)['UsedBy'] == ['first'] and images.show(first)['References'] == []
    host.heroctl('delete', '--force', 'first')
    assert [d for _, d, _ in images.call('Prune', 'a{sv}', {})[0]] == [first]
    host.heroctl('delete', '--force', 'second')


@pytest.fixture
def trusted(host, secret_registry):
    """The CA where skopeo looks for those of a registry."""
    host.run(f'mkdir -p {CERTIFICATES} && cp {secret_registry.directory}/ca.pem {CERTIFICATES}/ca.crt')
    yield secret_registry
    host.run(['rm', '-rf', CERTIFICATES])


@pytest.fixture
def credentials(host):
    """containers-auth.json, as `skopeo login` writes it, where PID 1 looks for it as a credential and only root can read it."""
    secret = base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()
    host.run('umask 077; mkdir -p /etc/credstore && cat >/etc/credstore/containers-auth.json', input=json.dumps({'auths': {TLS_NAME: {'auth': secret}}}))
    yield secret
    host.run('rm -f /etc/credstore/containers-auth.json')


PRIVATE = f'{TLS_NAME}/private/alpine:1'


def test_a_certificate_of_nobody_known_is_refused(images, secret_registry):
    r = images.pull(PRIVATE)
    assert r['result'].endswith('.PullFailed') and 'certificate' in r['message'], r


def test_a_registry_that_wants_a_password_says_so_when_there_is_none(images, trusted):
    r = images.pull(PRIVATE)
    assert r['result'].endswith('.PullFailed') and ('unauthorized' in r['message'] or 'credentials' in r['message'] or 'authentication' in r['message']), r


# Reads what must not be seen from its standard input, and looks until that ends.
WATCH = r'''
import os, select, sys
secrets = sys.stdin.readline().split()
print("looking", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", errors="replace") as f:
                    text = f.read()
            except OSError:
                continue
            if any(s in text for s in secrets):
                print(name, text.replace("\0", " "), flush=True)
'''


def test_a_private_image_over_tls_by_credentials_that_no_process_shows(host, images, trusted, credentials, hostile):
    watch = host.popen(['/usr/bin/python3', '-c', WATCH], text=True)
    watch.stdin.write(f'{PASSWORD} {credentials}\n')
    watch.stdin.flush()
    assert watch.stdout.readline() == 'looking\n'
    cursor = host.cursor()
    images.pulled(PRIVATE)
    assert watch.communicate(timeout=20) == ('', '')
    assert images.list()[PRIVATE]['digest']
    journal = host.journal(cursor)
    assert PASSWORD not in journal and credentials not in journal
    files = host.run(['grep', '-rlF', credentials, '/run', '/var/lib/hero-compute', '/tmp'], check=False).out
    assert files == '', files

    # Another registry that wants to know who is there is told nothing.
    hostile.forget_requests()
    images.pulled(hostile.reference('token-good'))
    assert hostile.requests() and not [r for r in hostile.requests() if 'Basic' in r]


@pytest.mark.parametrize('kind', ['oci-archive', 'docker-archive', 'layout', 'layout-through-a-pipe'])
def test_an_archive_of_an_image_gives_the_same_contents_as_its_pull(host, images, registry, kind):
    images.pulled('layers')
    content = images.show('layers')['ContentDigest']
    path = f'/var/tmp/{kind}'
    to = {'oci-archive': f'oci-archive:{path}:imported', 'docker-archive': f'docker-archive:{path}:imported:latest'}.get(kind, f'oci:{path}:imported')
    try:
        host.run(['skopeo', 'copy', '-q', f'oci:{IMAGES_DIRECTORY}/layout:layers', to])
        if kind == 'layout-through-a-pipe':
            host.run(f'tar -C {path} -c . | heroctl image import imported -')
        else:
            host.heroctl('image', 'import', 'imported', path)
        imported = images.show('imported')
        assert imported['ContentDigest'] == content and imported['Cmd'] == ['/bin/sh']
    finally:
        host.run(['rm', '-rf', path])
