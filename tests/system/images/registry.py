# SPDX-License-Identifier: Apache-2.0
"""What stands on the host under test: docker-registry from Debian, the hostile one, and the client that asks for images."""

import json
import os
import queue
import threading

import hostile as corpus
from throwaway import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES_DIRECTORY = '/srv/hero-test-images'        # what benign.py made, as the host sees it
TESTS_DIRECTORY = '/srv/hero-tests'
PORT, TLS_PORT, HOSTILE_PORT = 5000, 5443, 5001
USER, PASSWORD = 'puller', 'a-secret-of-the-tests'
HTPASSWD = 'puller:$2b$04$OXa.l5TiK9emAJYKt9ANvus5NZlb8Eiouvd20SJHFhH/fXzc5rZja'   # by bcrypt, which neither Python nor openssl has
TLS_NAME = f'registry.test:{TLS_PORT}'


def listening(host, port):
    return wait_until(lambda: host.run(f'grep -q ":{port:04X} 0*:0000 0A" /proc/net/tcp /proc/net/tcp6', check=False).status == 0,
                      f'something listens on port {port}')


class Registry:
    """docker-registry as a service of the host. With tls: a name, a certificate of a CA of its own, and a password."""

    def __init__(self, host, port=PORT, tls=False):
        self.host, self.port, self.tls = host, port, tls
        self.directory = f'/var/tmp/registry-{port}'
        self.unit = f'test-registry-{port}.service'
        self.name = TLS_NAME if tls else f'127.0.0.1:{port}'

    def configuration(self):
        text = (f'version: 0.1\nlog: {{level: warn, accesslog: {{disabled: false}}}}\nstorage: {{filesystem: {{rootdirectory: {self.directory}/data}}, delete: {{enabled: true}}}}\n'
                f'http:\n  addr: 127.0.0.1:{self.port}\n')
        if self.tls:
            text += f'  tls: {{certificate: {self.directory}/server.pem, key: {self.directory}/server.key}}\n'
            text += f'auth: {{htpasswd: {{realm: tests, path: {self.directory}/htpasswd}}}}\n'
        return text

    def certificates(self):
        self.host.run(f'''cd {self.directory} && grep -q registry.test /etc/hosts || echo 127.0.0.1 registry.test >>/etc/hosts
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=CA of the tests" -keyout ca.key -out ca.pem
                openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=registry.test" -keyout server.key -out server.csr
                printf "subjectAltName=DNS:registry.test" >ext
                openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem''')
        self.host.run(['tee', f'{self.directory}/htpasswd'], input=HTPASSWD + '\n')

    def start(self):
        self.host.run(f'mkdir -p {self.directory}/data')
        if self.tls:
            self.certificates()
        self.host.run(['tee', f'{self.directory}/config.yml'], input=self.configuration())
        self.host.run(f'chown -R nobody: {self.directory}')
        self.host.run(['systemd-run', '-q', f'--unit={self.unit}', '-p', 'User=nobody', '-p', 'Type=exec', 'docker-registry', 'serve',
                       f'{self.directory}/config.yml'])
        listening(self.host, self.port)
        return self

    def stop(self):
        self.host.run(['systemctl', 'stop', self.unit], check=False)

    def copy(self, *words, timeout=120):
        return self.host.run(['skopeo', 'copy', '-q', '--dest-tls-verify=false', '--src-tls-verify=false', *words], timeout=timeout)

    def push(self, tag, to=None, everything=False, layout=None):
        """An image of the layout under REPOSITORY:TAG, its own name by default."""
        words = ['--dest-creds', f'{USER}:{PASSWORD}'] if self.tls else []
        to = to or f'library/{tag}:latest'
        self.copy(*(['--all'] if everything else []), *words, f'oci:{layout or IMAGES_DIRECTORY + "/layout"}:{tag}', f'docker://{self.name}/{to}')
        return f'{self.name}/{to}'

    def retag(self, repository, tag, others):
        """More names for a manifest, without a byte of a layer."""
        script = ('import http.client, sys\n'
                  'c = http.client.HTTPConnection(sys.argv[1])\n'
                  'types = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"\n'
                  'c.request("GET", f"/v2/{sys.argv[2]}/manifests/{sys.argv[3]}", headers={"Accept": types})\n'
                  'r = c.getresponse(); data, kind = r.read(), r.headers["Content-Type"]\n'
                  'for t in sys.argv[4:]:\n'
                  '    c.request("PUT", f"/v2/{sys.argv[2]}/manifests/{t}", data, {"Content-Type": kind})\n'
                  '    r = c.getresponse(); r.read(); assert r.status == 201, r.status\n')
        self.host.run(['/usr/bin/python3', '-c', script, self.name, repository, tag, *others])

    def requests(self, cursor):
        """What it was asked for since, as "METHOD PATH"."""
        out = self.host.journal(cursor, '-u', self.unit)
        return [line.split('"')[1].rpartition(' ')[0] for line in out.splitlines() if 'HTTP/1.1"' in line]


class Hostile:
    """hostile.py as a service of the host."""

    def __init__(self, host, port=HOSTILE_PORT):
        self.host, self.port, self.log = host, port, f'/var/tmp/hostile-{port}.log'
        self.unit = f'test-hostile-{port}.service'

    def start(self):
        self.host.run(['systemd-run', '-q', f'--unit={self.unit}', '-E', 'PYTHONDONTWRITEBYTECODE=1', '-p', 'TimeoutStopSec=1', '-p', 'Type=exec', '/usr/bin/python3',
                       f'{TESTS_DIRECTORY}/hostile.py', str(self.port), self.log])
        listening(self.host, self.port)
        return self

    def stop(self):
        self.host.run(['systemctl', 'stop', self.unit], check=False)

    def reference(self, case, tag='latest'):
        known = corpus.CASES.get(case)
        return f'127.0.0.1:{self.port + bool(known and known.token)}/{case}:{tag}'

    def move(self, name):
        """The tag of a name that begins with "moving" is another image from now on."""
        self.host.run(['/usr/bin/python3', '-c', 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])',
                       f'http://127.0.0.1:{self.port}/move/{name}'])

    def requests(self):
        out = self.host.run(['cat', self.log], check=False).out
        return [line.partition(' ')[2].strip() for line in out.splitlines()]

    def forget_requests(self):
        self.host.run(f': >{self.log}')


class Images:
    """The client on the host: images_client.py, one for all tests."""

    def __init__(self, host):
        self.host = host
        self.process = host.popen(['/usr/bin/python3', f'{TESTS_DIRECTORY}/images_client.py'], stderr=None, text=True)
        self.n, self.answers, self.arrived = 0, {}, queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.arrived.put(json.loads(line))
        self.arrived.put(None)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()

    def start(self, op, **arguments):
        self.n += 1
        self.process.stdin.write(json.dumps({'id': self.n, 'op': op, **arguments}) + '\n')
        self.process.stdin.flush()
        return self.n

    def result(self, n, timeout=60):
        while n not in self.answers:
            try:
                answer = self.arrived.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f'no answer to request {n} within {timeout} s') from None
            assert answer, 'the client on the host has ended'
            self.answers[answer['id']] = answer
        return self.answers.pop(n)

    def ask(self, op, timeout=60, **arguments):
        return self.result(self.start(op, **arguments), timeout)

    def pull(self, reference, timeout=60, **options):
        return self.ask('pull', timeout, reference=reference, options=options)

    def pulled(self, reference, **kwargs):
        """The digest of one that must work."""
        answer = self.pull(reference, **kwargs)
        assert answer['result'] == 'done', answer
        return answer['digest']

    def begin(self, reference, **options):
        answer = self.ask('begin', reference=reference, options=options)
        assert 'job' in answer, answer
        return answer['job']

    def call(self, method, signature='', *arguments, **kwargs):
        answer = self.ask('call', method=method, signature=signature and f'({signature})', arguments=arguments, **kwargs)
        assert 'error' not in answer, answer
        return answer['value']

    def error(self, method, signature='', *arguments, **kwargs):
        answer = self.ask('call', method=method, signature=signature and f'({signature})', arguments=arguments, **kwargs)
        assert 'error' in answer, answer
        return answer

    def list(self):
        keys = ('reference', 'digest', 'platform', 'size', 'created', 'object')
        return {i[0]: dict(zip(keys, i)) for i in self.call('List')[0]}

    def show(self, reference):
        path = self.call('Get', 's', reference)[0]
        answer = self.ask('get', path=path, interface='org.hero.Compute.Image')
        assert 'value' in answer, answer
        return answer['value']

    def open(self, reference):
        """As hero-computed does when a VM needs it; only the digest of what comes back."""
        return self.host.busctl('--timeout=60', 'call', 'org.hero.Compute.Images', '/org/hero/Compute/Images', 'org.hero.Compute.Images', 'Open',
                                's', reference).out.split('"')[1]

    def remove(self, *references):
        for r in references:
            self.call('Remove', 's', r)

    def remains(self):
        return set(self.ask('remains')['value'])
