# SPDX-License-Identifier: Apache-2.0
"""Pull() and imports of archives of images on a private bus, with hero-image-fetch played by a fake that can lie."""

import gzip
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import time

import pytest
from gi.repository import GLib

from fake_fetch import FakeFetch, Image, descriptor, digest, make_index
from imaged_fixtures import COMPUTED, ERROR, JOB, OBJECT, Host, make_tar, wait_for

CONFIG = {'Entrypoint': ['/bin/app'], 'Cmd': ['-x', ''], 'Env': ['PATH=/bin', 'A=b c'], 'User': '1000:100', 'WorkingDir': '/srv',
          'StopSignal': 'SIGINT', 'Labels': {'a.b': 'c=d'}}
APP = Image({'hello': b'world\n', 'gone': b''}, {'.wh.gone': b'', 'etc/two': b'2'}, **CONFIG)
OTHER = Image({'hello': b'moon\n'}, Cmd=['/bin/other'])
LOCATION = 'docker.io/library/app:latest'


class Bed:
    """Host, fake registry and a connection."""

    def __init__(self, directory, config='', **environment):
        (directory / 'conf').mkdir()
        (directory / 'conf/images.conf').write_text('[Images]\nKeepFree=1M\n' + config)
        self.fetch = FakeFetch(directory)
        self.host = Host(directory, HERO_FETCH_SOCKET=self.fetch.path, HERO_CONFIG_DIR=str(directory / 'conf'), **environment)
        self.bus = self.host.connect()

    def start(self, reference, bus=None, **options):
        return (bus or self.bus).call('Pull', '(sa{sv})', reference, {k: GLib.Variant('s', v) for k, v in options.items()})[0]

    def pull(self, reference, **options):
        """(result, message, digest)"""
        return self.bus.wait_done(self.start(reference, **options))

    def pulled(self, reference, **options):
        result, message, found = self.pull(reference, **options)
        assert result == 'done', (result, message)
        return found

    def failed(self, reference, **options):
        result, message, found = self.pull(reference, **options)
        assert found == '' and result.startswith(ERROR), (result, message)
        return result.removeprefix(ERROR), message

    def nothing_is_left(self):
        wait_for(lambda: self.fetch.connections == 0)
        for name in 'content', 'images', 'tags':
            assert os.listdir(self.host.state / name) == [], name
        assert self.host.workers() == []

    def close(self):
        self.host.close()
        self.fetch.close()


@pytest.fixture
def make_bed(tmp_path):
    beds = []

    def make(config='', **environment):
        beds.append(Bed(tmp_path, config, **environment))
        return beds[-1]
    yield make
    for bed in beds:
        bed.close()


@pytest.fixture
def bed(make_bed):
    b = make_bed()
    b.fetch.add(LOCATION, APP)
    return b


def listing(data, tmp_path):
    (tmp_path / 'squashfs').write_bytes(data)
    out = subprocess.run(['unsquashfs', '-ls', tmp_path / 'squashfs'], check=True, capture_output=True, text=True).stdout
    return sorted(line.removeprefix('squashfs-root/') for line in out.splitlines() if line.startswith('squashfs-root/'))


class TestPull:
    def test_layers_become_one_file_and_the_configuration_is_handed_out(self, bed, tmp_path):
        assert bed.pulled('app') == APP.digest
        assert [c[0] for c in bed.fetch.calls] == ['inspect', 'copy']
        assert bed.fetch.calls[0][1] == LOCATION
        assert bed.fetch.calls[1][2] == f'docker.io/library/app@{APP.digest}'
        found, data, config = bed.bus.open_with_config('app')
        assert found == APP.digest
        assert listing(data, tmp_path) == ['etc', 'etc/two', 'hello']
        assert config == {'Entrypoint': ['/bin/app'], 'Cmd': ['-x', ''], 'Env': ['PATH=/bin', 'A=b c'], 'User': '1000:100',
                          'WorkingDirectory': '/srv', 'StopSignal': 'SIGINT', 'Platform': 'linux/amd64'}
        image = bed.bus.get('app')
        assert image['Digest'] == APP.digest and image['ContentDigest'] == digest(data)
        assert (image['Layers'], image['Platform'], image['Labels']) == (2, 'linux/amd64', {'a.b': 'c=d'})
        assert image['CreatedTimestamp'] == 1767323045 * 1000000
        assert abs(image['PulledTimestamp'] / 1e6 - time.time()) < 60
        assert bed.bus.list()['app:latest'][:3] == (APP.digest, 'linux/amd64', len(data))

    def test_it_survives_a_restart(self, bed):
        bed.pulled('app')
        before = bed.bus.get('app')
        bed.host.stop()
        bed.host.start()
        after = bed.bus.get('app')
        assert after == before

    def test_what_is_here_is_not_fetched_again(self, bed):
        bed.fetch.add('quay.io/other/name:1', APP)
        bed.pulled('app')
        assert bed.pulled('quay.io/other/name:1') == APP.digest
        assert bed.pulled('app') == APP.digest
        assert [c[0] for c in bed.fetch.calls] == ['inspect', 'copy', 'inspect', 'inspect']
        assert len(bed.host.contents()) == 1
        # Nor is the registry asked about a digest.
        assert bed.pulled(f'app@{APP.digest}') == APP.digest
        assert len(bed.fetch.calls) == 4
        assert bed.bus.get('app')['References'] == ['app:latest', f'app@{APP.digest}', 'quay.io/other/name:1']

    def test_a_moved_tag_points_at_the_new_one(self, bed):
        bed.pulled('app')
        bed.fetch.add(LOCATION, OTHER)
        assert bed.pulled('app') == OTHER.digest
        assert bed.bus.get(APP.digest)['References'] == []
        assert bed.bus.open_with_config('app')[0] == OTHER.digest
        assert bed.bus.open_with_config(APP.digest)[0] == APP.digest

    def test_what_is_given_out_while_uses_are_asked_stays(self, bed):
        # The answer that is under way says only that there is a VM of "app", which another image is when it arrives.
        asked, answer, uses = threading.Event(), threading.Event(), [[('web', 'app', '')], [('web', 'app', APP.digest)]]

        def say(method, arguments):
            said = uses.pop(0) if len(uses) > 1 else uses[0]
            asked.set()
            assert answer.wait(30)
            return GLib.Variant('(a(sss))', (said,))
        bed.pulled('app')
        bed.host.connect().serve('org.hero.Compute', '/org/hero/Compute', COMPUTED, say)
        pruned = []
        other = bed.host.connect()
        prune = threading.Thread(target=lambda: pruned.append(other.call('Prune', '(a{sv})', {})))
        prune.start()
        assert asked.wait(30)
        assert bed.bus.open_with_config('app')[0] == APP.digest
        bed.fetch.add(LOCATION, OTHER)
        assert bed.pulled('app') == OTHER.digest
        answer.set()
        prune.join(30)
        assert pruned == [([],)]
        assert bed.bus.open_with_config(APP.digest)[0] == APP.digest

    def test_who_is_asked_for_uses_knows_that_images_changed(self, bed):
        bed.pulled('app')
        computed = bed.host.connect()
        known = []

        def say(method, arguments):
            known.append(sum(s[0] == 'ImagesChanged' for s in computed.signals))
            return GLib.Variant('(a(sss))', ([],))
        computed.serve('org.hero.Compute', '/org/hero/Compute', COMPUTED, say)
        bed.fetch.add(LOCATION, OTHER)
        bed.pulled('app')
        wait_for(lambda: known)
        assert known[0] == 1

    def test_what_a_moved_tag_leaves_goes_when_no_vm_uses_it(self, bed):
        uses = [('web', 'app', APP.digest)]
        bed.host.play_computed(uses)
        bed.pulled('app')
        bed.fetch.add(LOCATION, OTHER)
        bed.pulled('app')
        assert bed.bus.get(APP.digest)['UsedBy'] == ['web']
        uses.clear()
        bed.fetch.add(LOCATION, Image({'third': b''}))
        bed.pulled('app')
        wait_for(lambda: len(bed.host.contents()) == 1)

    def test_of_an_index_the_platform_is_taken(self, bed):
        arm = Image({'arm': b''}, platform='linux/arm64')
        bed.fetch.add(LOCATION, [APP, arm], make_index(arm, APP))
        assert bed.pulled('app') == APP.digest
        assert bed.pulled('app', Platform='linux/arm64') == arm.digest
        assert bed.bus.get('app')['Platform'] == 'linux/arm64'
        error, message = bed.failed('app', Platform='linux/s390x')
        assert error == 'NoSuchImage' and 'linux/amd64' in message
        assert bed.bus.error('Pull', '(sa{sv})', 'app', {'Platform': GLib.Variant('s', 'windows/amd64')})[0] == ERROR + 'InvalidArgument'

    def test_a_lost_content_is_fetched_again(self, bed):
        bed.pulled('app')
        (bed.host.state / 'content' / bed.host.contents()[0]).unlink()
        assert bed.bus.error('Open', '(s)', 'app')[0] == ERROR + 'BadImage'
        bed.pulled('app')
        bed.bus.open_with_config('app')

    def test_progress_and_steps_are_announced(self, bed):
        bed.fetch.hold.clear()
        job = bed.start('app')
        objects = bed.bus.objects()
        assert objects[job][JOB]['Type'] == 'pull' and objects[job][JOB]['Reference'] == 'app:latest'
        wait_for(lambda: any(c.get('Step') == 'resolve' for c in bed.bus.changes(job)))
        bed.fetch.hold.set()
        assert bed.bus.wait_done(job)[0] == 'done'
        steps = [c['Step'] for c in bed.bus.changes(job)]
        assert list(dict.fromkeys(steps)) == ['resolve', 'fetch', 'convert', 'store']
        assert job not in bed.bus.objects()
        assert [s[0] for s in bed.bus.signals if s[0] in ('JobNew', 'JobRemoved')] == ['JobNew', 'JobRemoved']

    def test_names_that_cannot_be_pulled_are_refused(self, bed):
        for reference in 'busybox', 'NO', APP.digest, 'a.b:x/c':
            assert bed.bus.error('Pull', '(sa{sv})', reference, {})[0] == ERROR + 'InvalidArgument'
        assert bed.bus.error('Pull', '(sa{sv})', 'a', {'Fast': GLib.Variant('b', True)})[0] == ERROR + 'InvalidArgument'


class TestSharing:
    def test_requests_of_one_reference_are_one_job(self, bed):
        bed.fetch.hold.clear()
        others = [bed.host.connect() for _ in range(5)]
        jobs = {bed.start('app')} | {bed.start('app:latest', c) for c in others}
        assert len(jobs) == 1
        bed.fetch.hold.set()
        for c in [bed.bus, *others]:
            assert c.wait_done(next(iter(jobs)))[0] == 'done'
        assert sum(c[0] == 'copy' for c in bed.fetch.calls) == 1

    def test_another_platform_is_another_job(self, bed):
        bed.fetch.hold.clear()
        jobs = [bed.start('app'), bed.start('app', Platform='linux/arm64')]
        assert jobs[0] != jobs[1]
        bed.fetch.hold.set()
        assert [bed.bus.wait_done(j)[0] for j in jobs] == ['done', ERROR + 'NoSuchImage']
        assert bed.failed('app', Platform='linux/arm64')[0] == 'NoSuchImage'  # also now that it is here

    def test_a_cancel_takes_back_ones_own_request_only(self, bed):
        bed.fetch.hold.clear()
        other = bed.host.connect()
        job = bed.start('app')
        assert bed.start('app') == bed.start('app', other) == job
        bed.bus.cancel(job)
        bed.bus.cancel(job)
        time.sleep(0.3)
        assert not any(s[0] == 'JobRemoved' for s in bed.bus.signals)
        other.cancel(job)
        assert bed.bus.wait_done(job)[0] == 'canceled'
        bed.fetch.hold.set()
        bed.nothing_is_left()

    def test_who_left_the_bus_does_not_end_a_pull_but_counts_no_more(self, bed):
        bed.fetch.hold.clear()
        gone = bed.host.connect()
        job = bed.start('app', gone)
        gone.close()
        time.sleep(0.2)
        assert bed.start('app') == job
        bed.bus.cancel(job)
        assert bed.bus.wait_done(job)[0] == 'canceled'
        gone = bed.host.connect()
        job = bed.start('app', gone)
        gone.close()
        bed.fetch.hold.set()
        assert bed.bus.wait_done(job)[0] == 'done'

    def test_root_who_did_not_ask_ends_it_for_all(self, bed):
        bed.fetch.hold.clear()
        job = bed.start('app')
        bed.host.connect().cancel(job)
        assert bed.bus.wait_done(job)[0] == 'canceled'
        bed.fetch.hold.set()
        bed.nothing_is_left()

    def test_more_than_pulls_max_wait(self, make_bed):
        bed = make_bed('PullsMax=2\n')
        images = [Image({'n': b'%d' % i}) for i in range(5)]
        for i, image in enumerate(images):
            bed.fetch.add(f'docker.io/library/n{i}:latest', image)
        bed.fetch.hold.clear()
        jobs = [bed.start(f'n{i}') for i in range(5)]
        wait_for(lambda: len(bed.fetch.calls) == 2)
        time.sleep(0.2)
        assert bed.fetch.connections == 2
        assert bed.bus.objects()[jobs[4]][JOB]['Step'] == 'wait'
        bed.bus.cancel(jobs[3])
        bed.fetch.hold.set()
        assert [bed.bus.wait_done(j)[0] for j in jobs] == ['done', 'done', 'done', 'canceled', 'done']


    def test_a_hundred_tags_at_once_are_one_copy(self, make_bed):
        bed = make_bed('PullsMax=8\n')
        for i in range(100):
            bed.fetch.add(f'docker.io/library/app:t{i}', APP)
        jobs = [bed.start(f'app:t{i}') for i in range(100)]
        assert {bed.bus.wait_done(j) for j in jobs} == {('done', '', APP.digest)}
        assert len(bed.host.contents()) == 1
        assert len(bed.bus.get(APP.digest)['References']) == 100


class TestLies:
    """Whatever the other end says, nothing of it stays, and the next pull works."""

    def after(self, bed):
        bed.nothing_is_left()
        bed.fetch.answer = None
        bed.fetch.add(LOCATION, APP)
        assert bed.pulled('app') == APP.digest

    @pytest.mark.parametrize('word, error', [('no-such-image', 'NoSuchImage'), ('failed', 'PullFailed'), ('too-large', 'LimitExceeded'),
                                             ('no-space', 'NoCapacity')])
    @pytest.mark.parametrize('step', ['inspect', 'copy'])
    def test_errors_have_their_names_and_sentences(self, bed, word, error, step):
        def answer(connection, words):
            if words[0] == step:
                bed.fetch.say(connection, f'error {word} The registry\x1b[31m is tired.')
                return True
        bed.fetch.answer = answer
        assert bed.failed('app') == (error, 'The registry?[31m is tired.')
        self.after(bed)

    @pytest.mark.parametrize('text', ['nonsense', 'error', 'error what Ever.', 'document', 'files', 'progress 1 1', 'x' * 20000, 'inspect a',
                                      'progress -1 0', 'document extra'])
    def test_nonsense_ends_it(self, bed, text):
        def answer(connection, words):
            bed.fetch.say(connection, text)
            return True
        bed.fetch.answer = answer
        assert bed.failed('app')[0] == 'PullFailed'
        self.after(bed)

    def test_a_connection_that_breaks_ends_it(self, bed):
        for step in 'inspect', 'copy':
            def answer(connection, words):
                if words[0] == step:
                    connection.shutdown(2)
                    return True
            bed.fetch.answer = answer
            assert bed.failed('app')[0] == 'PullFailed'
        self.after(bed)

    def test_nobody_listening_is_said_so(self, bed):
        bed.fetch.close()
        os.unlink(bed.fetch.path)
        error, message = bed.failed('app')
        assert error == 'PullFailed' and 'hero-image-fetch.socket' in message
        bed.nothing_is_left()

    def test_no_answer_is_no_answer_for_ever(self, make_bed):
        bed = make_bed('[Timeouts]\nStallTimeoutSec=1ms\n')
        bed.fetch.answer = lambda connection, words: True
        begun = time.monotonic()
        error, message = bed.failed('app')
        assert error == 'PullFailed' and 'StallTimeoutSec' in message
        assert time.monotonic() - begun < 10
        self.after(bed)

    def test_all_of_it_may_not_take_longer_than_configured(self, make_bed):
        bed = make_bed('[Timeouts]\nPullTimeoutSec=1s\n')
        bed.fetch.add(LOCATION, APP)

        def answer(connection, words):  # always a bit more
            if words[0] == 'copy':
                for i in range(100):
                    bed.fetch.say(connection, f'progress {i} 0')
                    time.sleep(0.05)
                return True
        bed.fetch.answer = answer
        error, message = bed.failed('app')
        assert error == 'PullFailed' and 'PullTimeoutSec' in message
        self.after(bed)

    @pytest.mark.parametrize('document', [b'', b'{', b'[]', b'{"schemaVersion":1}', b'\xff' * 100, b'{"schemaVersion":2}', b'[' * 100000])
    def test_a_document_that_is_none(self, bed, document):
        bed.fetch.documents[LOCATION] = document
        assert bed.failed('app')[0] == 'BadImage'
        self.after(bed)

    def test_a_document_that_is_too_large(self, bed):
        bed.fetch.documents[LOCATION] = b' ' * ((4 << 20) + 1)
        assert bed.failed('app')[0] == 'LimitExceeded'
        self.after(bed)

    def test_a_document_of_another_digest(self, bed):
        bed.fetch.documents[f'docker.io/library/app@{OTHER.digest}'] = APP.manifest
        error, message = bed.failed(f'app@{OTHER.digest}')
        assert error == 'BadImage' and OTHER.digest in message
        arm = Image({'arm': b''}, platform='linux/arm64')
        bed.fetch.documents[LOCATION] = make_index(OTHER, arm)
        assert bed.failed('app')[0] == 'BadImage'
        self.after(bed)

    def test_indexes_for_ever(self, bed):
        inner = make_index(APP)
        for _ in range(4):
            bed.fetch.documents[f'docker.io/library/app@{digest(inner)}'] = inner
            inner = json.dumps({'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.index.v1+json',
                                'manifests': [descriptor(inner, 'index.v1', platform={'os': 'linux', 'architecture': 'amd64'})]}).encode()
        bed.fetch.documents[LOCATION] = inner
        assert bed.failed('app')[0] == 'BadImage'
        self.after(bed)

    def change(self, bed, change):
        """Hands over other blobs than those asked for."""
        def answer(connection, words):
            if words[0] == 'copy':
                blobs = dict(APP.blobs)
                change(blobs)
                bed.fetch.say_files(connection, blobs)
                return True
        bed.fetch.answer = answer
        return bed.failed('app')

    def test_blobs_that_are_missing_or_of_another_size(self, bed):
        for name in digest(APP.config), APP.layers[0], APP.layers[1]:
            assert self.change(bed, lambda blobs: blobs.pop(name))[0] == 'BadImage'
            assert self.change(bed, lambda blobs: blobs.update({name: blobs[name] + b'x'}))[0] == 'BadImage'
        self.after(bed)

    def test_blobs_that_are_not_what_their_digests_say(self, bed):
        for name in digest(APP.config), APP.layers[0], APP.layers[1]:
            def change(blobs):
                data = bytearray(blobs[name])
                data[len(data) // 2] ^= 1
                blobs[name] = bytes(data)
            assert self.change(bed, change)[0] == 'BadImage'
        self.after(bed)

    def test_a_configuration_for_another_platform_or_of_other_layers(self, bed):
        for config in Image({'x': b''}, platform='linux/arm64').config, Image({'x': b''}, {'y': b''}).config, b'{}', b'[1]':
            manifest = json.loads(APP.manifest)
            manifest['layers'] = manifest['layers'][:1]
            manifest['config'] = descriptor(config, 'config.v1')
            liar = Image({'x': b''})
            liar.manifest = json.dumps(manifest).encode()
            liar.digest = digest(liar.manifest)
            liar.blobs = {**APP.blobs, digest(config): config}
            bed.fetch.add(LOCATION, liar)
            assert bed.failed('app')[0] in ('BadImage', 'NoSuchImage')
        self.after(bed)

    def test_more_than_an_image_may_have(self, make_bed):
        bed = make_bed('ImageSizeMax=1K\n')
        bed.fetch.add(LOCATION, Image({'noise': os.urandom(4096)}))
        error, message = bed.failed('app')
        assert error == 'LimitExceeded' and 'ImageSizeMax' in message
        assert [c[0] for c in bed.fetch.calls] == ['inspect']  # not even asked for
        bed.fetch.add(LOCATION, Image({'bomb': bytes(1 << 20)}))
        assert bed.failed('app')[0] == 'LimitExceeded'
        bed.nothing_is_left()


class TestSpace:
    def test_those_used_least_recently_make_room(self, make_bed):
        bed = make_bed('SpaceMax=600K\n')
        images = [Image({'noise': os.urandom(150 << 10)}) for _ in range(5)]
        uses = []
        bed.host.play_computed(uses)
        for i, image in enumerate(images[:3]):
            bed.fetch.add(f'docker.io/library/n{i}:latest', image)
            bed.pulled(f'n{i}')
        bed.bus.open_with_config('n0')
        for i, image in enumerate(images[3:], 3):
            bed.fetch.add(f'docker.io/library/n{i}:latest', image)
        bed.pulled('n3')
        wait_for(lambda: sorted(bed.bus.list()) == ['busybox:latest', 'n0:latest', 'n2:latest', 'n3:latest'])
        uses += [(f'vm{i}', f'n{i}', images[i].digest) for i in (0, 2, 3)]
        error, message = bed.failed('n4')
        assert error == 'NoCapacity' and 'SpaceMax=600K' in message
        assert sorted(bed.bus.list()) == ['busybox:latest', 'n0:latest', 'n2:latest', 'n3:latest']
        del uses[1]
        bed.pulled('n4')
        wait_for(lambda: sorted(bed.bus.list()) == ['busybox:latest', 'n0:latest', 'n3:latest', 'n4:latest'])

    def test_without_hero_computed_nothing_is_taken_away(self, make_bed):
        bed = make_bed('SpaceMax=200K\n')
        for name in 'a', 'b':
            bed.fetch.add(f'docker.io/library/{name}:latest', Image({'noise': os.urandom(150 << 10)}))
        bed.pulled('a')
        error, message = bed.failed('b')
        assert error == 'NoCapacity' and 'hero-computed' in message
        assert 'a:latest' in bed.bus.list()

    def test_nothing_is_begun_when_the_disk_is_full(self, make_bed):
        bed = make_bed('KeepFree=1000T\n')
        bed.host.play_computed([])
        bed.fetch.add(LOCATION, APP)
        error, message = bed.failed('app')
        assert error == 'NoCapacity' and 'KeepFree=' in message
        assert [c[0] for c in bed.fetch.calls] == ['inspect']
        assert bed.bus.import_bytes('a', make_tar({'x': b''}))[0] == ERROR + 'NoCapacity'
        bed.nothing_is_left()


class TestCrash:
    @pytest.mark.parametrize('step', ['resolve', 'fetch', 'convert'])
    def test_killed_at_any_step_it_leaves_what_was(self, bed, step):
        bed.pulled('app')
        held = Image({'noise': os.urandom(20 << 20)})
        bed.fetch.add(LOCATION, held)
        reached = threading.Event()

        def answer(connection, words):
            if words[0] == {'resolve': 'inspect', 'fetch': 'copy'}.get(step):
                reached.set()
                return True
        bed.fetch.answer = answer
        bed.start('app')
        wait_for(reached.is_set if step != 'convert' else bed.host.workers)
        bed.host.daemon.kill()
        bed.host.daemon.wait()
        wait_for(lambda: bed.fetch.connections == 0)
        bed.bus.signals.clear()  # numbers of jobs begin anew
        bed.host.start()
        assert bed.bus.open_with_config('app')[0] == APP.digest
        assert len(bed.host.contents()) == 1
        bed.fetch.answer = None
        assert bed.pulled('app') == held.digest

    def test_it_does_not_leave_in_the_middle_of_a_pull(self, make_bed):
        bed = make_bed(HERO_IDLE_SEC='300ms')
        bed.fetch.add(LOCATION, APP)
        bed.fetch.hold.clear()
        job = bed.start('app')
        time.sleep(1.2)
        assert bed.host.daemon.poll() is None
        bed.fetch.hold.set()
        assert bed.bus.wait_done(job)[0] == 'done'
        assert bed.host.daemon.wait(10) == 0

    def test_a_cancel_while_converting_ends_the_worker(self, bed):
        bed.fetch.add(LOCATION, Image({'noise': os.urandom(20 << 20)}))
        job = bed.start('app')
        wait_for(bed.host.workers)
        bed.bus.cancel(job)
        assert bed.bus.wait_done(job)[0] == 'canceled'
        bed.nothing_is_left()


def tar_of(files):
    """A tar of {name: contents}, in this order; contents None: a directory, str: a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
            else:
                info.size = len(data)
            t.addfile(info, io.BytesIO(data or b'') if not isinstance(data, str) else None)
    return out.getvalue()


def layout(image, prefix='', **annotations):
    """An OCI layout of one image."""
    index = json.dumps({'schemaVersion': 2, 'manifests': [descriptor(image.manifest, 'manifest.v1', annotations=annotations)]})
    files = {'blobs': None, 'blobs/sha256': None}
    files |= {f'blobs/sha256/{d[7:]}': b for d, b in {**image.blobs, image.digest: image.manifest}.items()}
    files |= {'index.json': index.encode(), 'oci-layout': b'{"imageLayoutVersion":"1.0.0"}'}
    return {prefix + n: d for n, d in files.items()}


def docker_save(image, tag='app:1'):
    """What "docker save" wrote before it wrote layouts."""
    ids = ['%064x' % (i + 1) for i in range(len(image.tars))]
    files = {}
    for i, data in zip(ids, image.tars):
        files |= {i: None, f'{i}/VERSION': b'1.0', f'{i}/json': b'{}', f'{i}/layer.tar': data}
    name = digest(image.config)[7:] + '.json'
    files |= {name: image.config, 'manifest.json': json.dumps(
        [{'Config': name, 'RepoTags': [tag], 'Layers': [f'{i}/layer.tar' for i in ids]}]).encode(), 'repositories': b'{}'}
    return files


class TestArchives:
    def piped(self, bus, reference, data):
        r, w = os.pipe()
        job = bus.start_import(reference, r)
        os.close(r)
        try:
            with os.fdopen(w, 'wb', buffering=0) as f:
                f.write(data)
        except BrokenPipeError:  # it has heard enough
            pass
        return bus.wait_done(job)

    @pytest.mark.parametrize('prefix', ['', './'])
    def test_a_layout_is_the_image_in_it(self, bed, tmp_path, prefix):
        data = tar_of({**({'./': None} if prefix else {}), **layout(APP, prefix)})
        assert bed.bus.imported('mine:1', data) == APP.digest
        found, contents, config = bed.bus.open_with_config('mine:1')
        assert listing(contents, tmp_path) == ['etc', 'etc/two', 'hello']
        assert config['Entrypoint'] == ['/bin/app'] and config['Platform'] == 'linux/amd64'
        assert self.piped(bed.bus, 'piped', data) == ('done', '', APP.digest)
        assert bed.fetch.calls == []

    def test_docker_save_is_the_image_in_it(self, bed, tmp_path):
        data = tar_of(docker_save(APP))
        assert self.piped(bed.bus, 'saved', data) == ('done', '', digest(APP.config))
        found, contents, config = bed.bus.open_with_config('saved')
        assert listing(contents, tmp_path) == ['etc', 'etc/two', 'hello']
        assert config['User'] == '1000:100'
        assert bed.bus.get('saved')['Layers'] == 2
        assert bed.bus.imported('again', data) == digest(APP.config)

    def test_of_several_the_tag_chooses(self, bed):
        both = docker_save(APP, 'x/app:1') | docker_save(OTHER, 'x/app:2')
        ids = json.loads(docker_save(APP, 'x/app:1')['manifest.json']) + json.loads(docker_save(OTHER, 'x/app:2')['manifest.json'])
        ids[1]['Layers'] = ['other.tar']
        both |= {'manifest.json': json.dumps(ids).encode(), f'{1:064x}/layer.tar': APP.tars[0], 'other.tar': OTHER.tars[0]}
        assert bed.bus.imported('a:1', tar_of(both)) == digest(APP.config)
        assert bed.bus.imported('a:2', tar_of(both)) == digest(OTHER.config)
        result, message, _ = bed.bus.import_bytes('a:3', tar_of(both))
        assert result == ERROR + 'ImportFailed' and 'tag' in message

    def test_what_only_looks_like_one_is_a_root_file_system(self, bed, tmp_path):
        data = tar_of({'blobs': None, 'blobs/x': b'1', 'etc/passwd': b'root'})
        for result in self.piped(bed.bus, 'rootfs', data), bed.bus.import_bytes('again', data):
            assert result[0] == 'done', result
        assert listing(bed.bus.open('rootfs')[1], tmp_path) == ['blobs', 'blobs/x', 'etc', 'etc/passwd']

    def test_one_that_is_not_whole_or_not_what_it_says(self, bed):
        good = layout(APP)
        names = [n for n, d in good.items() if d]
        for name in names:
            if name in ('oci-layout', 'index.json'):
                continue
            for bad in {**good, name: None}, {**good, name: good[name][:-1] + b'?'}:
                result, message, _ = bed.bus.import_bytes('bad', tar_of(bad))
                assert result == ERROR + 'ImportFailed', (name, message)
        saved = docker_save(APP)
        for name in saved:
            if name.endswith(('VERSION', '/json', 'repositories')) or not saved[name]:
                continue
            cut = {**saved, name: saved[name][:len(saved[name]) // 2]}
            assert bed.bus.import_bytes('bad', tar_of(cut))[0] == ERROR + 'ImportFailed', name
        data = tar_of(good)
        assert self.piped(bed.bus, 'bad', data[:len(data) // 2])[0] == ERROR + 'ImportFailed'
        bed.nothing_is_left()

    def test_another_platform_than_wanted_is_not_there(self, bed):
        data = tar_of(layout(Image({'arm': b''}, platform='linux/arm64')))
        result, message, _ = bed.bus.import_bytes('a', data)
        assert result == ERROR + 'NoSuchImage' and 'linux/arm64' in message

    def test_links_in_an_archive_lead_nowhere(self, bed):
        bad = {**layout(APP), 'blobs/sha256/' + APP.layers[0][7:]: '/etc/passwd'}
        assert bed.bus.import_bytes('a', tar_of(bad))[0] == ERROR + 'ImportFailed'
        bad = {**layout(APP), 'index.json': '../../../../etc/passwd'}
        assert bed.bus.import_bytes('a', tar_of(bad))[0].startswith(ERROR)

    def test_a_slow_pipe_is_looked_into_when_there_is_something(self, bed):
        data = tar_of({'./': None, **layout(APP, './')})
        r, w = os.pipe()
        job = bed.bus.start_import('slow', r)
        os.close(r)
        for i in range(0, 2048, 256):
            os.write(w, data[i:i + 256])
            time.sleep(0.02)
        with os.fdopen(w, 'wb') as f:
            f.write(data[2048:])
        assert bed.bus.wait_done(job) == ('done', '', APP.digest)

    def test_a_compressed_one_is_refused_and_not_taken_for_a_root_file_system(self, bed):
        for files in layout(APP), {'./': None, **layout(APP, './')}, docker_save(APP):
            data = gzip.compress(tar_of(files))
            for result, message, _ in self.piped(bed.bus, 'a', data), bed.bus.import_bytes('a', data):
                assert result == ERROR + 'ImportFailed' and 'Decompress it first' in message, message
        bed.nothing_is_left()

    def test_staging_has_a_limit(self, make_bed):
        bed = make_bed('ImageSizeMax=1M\n')
        result, message, _ = self.piped(bed.bus, 'big', tar_of({'blobs/': None, 'blobs/x': bytes(80 << 20)}))
        assert result == ERROR + 'LimitExceeded'
        bed.nothing_is_left()

    def test_canceled_at_any_step_it_leaves_nothing(self, bed):
        data = tar_of(layout(Image({'noise': os.urandom(8 << 20)})))
        for n in 0, 700, 100000:
            r, w = os.pipe()
            job = bed.bus.start_import('never', r)
            os.close(r)
            os.write(w, data[:min(n, 60000)])
            time.sleep(0.1)
            bed.bus.cancel(job)
            assert bed.bus.wait_done(job)[0] == 'canceled'
            os.close(w)
        bed.nothing_is_left()
