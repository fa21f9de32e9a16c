#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when something that people can use is not in the manual pages, or the other way round.

    check-docs.py SOURCE-DIRECTORY HEROCTL"""

import glob
import re
import subprocess
import sys
import xml.etree.ElementTree

problems = []


def problem(text):
    problems.append(text)


def read(path):
    with open(f'{source}/{path}', encoding='utf-8') as f:
        return f.read()


def compare(what, there, documented, page):
    if not there:
        problem(f'no {what} found: this check looks for them in the wrong way')
    for name in sorted(there - documented):
        problem(f'{what} {name} is not in {page}')
    for name in sorted(documented - there):
        problem(f'{page} has the {what} {name}, which does not exist')


def literals(text, pattern):
    return set(re.findall(f'``({pattern})``', text))


def heroctl(*arguments):
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def long_options(text):
    return set(re.findall(r'^  .{3} (--[a-z-]+)', text, re.M))


def check_bus():
    """The reference of org.hero.Compute(5) is made from the XML; what remains to be compared is what goes in."""
    sys.path.insert(0, f'{source}/docs/man')
    import interfaces
    listed = set(re.findall(r"'(\w+)'", re.search(r'foreach i : \[(.*?)\]', read('docs/man/meson.build'))[1]))
    compare('interface', {p.split('.')[-2] for p in glob.glob(f'{source}/dbus/org.hero.Compute.*.xml')}, listed,
            'docs/man/meson.build')
    for path in glob.glob(f'{source}/dbus/org.hero.Compute.*.xml'):
        text = '\n'.join(interfaces.read(path)).replace('\\', '')
        root = xml.etree.ElementTree.parse(path).getroot()
        for element in root.iter():
            if element.tag in ('method', 'signal', 'property') and f'**{element.get("name")}** ' not in text:
                problem(f'{element.tag} {element.get("name")} of {path} is lost on the way to org.hero.Compute(5)')
            if element.tag == 'arg' and f'{element.get("type")} {element.get("name")}' not in text:
                problem(f'argument {element.get("name")} in {path} is lost on the way to org.hero.Compute(5)')


def check_errors():
    errors = set(re.findall(r'HERO_ERROR "(\w+)" +/\* (E\w+)', read('src/shared/error-names.h')))
    documented = set(re.findall(r'^``(\w+)`` \(``(E\w+)``\)$', read('docs/man/org.hero.Compute.5.rst'), re.M))
    compare('error', errors, documented, 'org.hero.Compute(5)')


def check_configuration(name, parser, entry=r'\{ "(\w+)", "(\w+)", KIND_'):
    """Parser, page and installed file have the same keys; page and file the same defaults."""
    keys = set(re.findall(entry, read(parser)))
    documented, section = {}, None
    for part in re.split(r'\n(?=\*\w+=\*\n|\[\w+\]\n)', read(f'docs/man/{name}.5.rst')):
        if m := re.match(r'\[(\w+)\]\n', part):
            section = m[1]
        elif m := re.match(r'\*(\w+)=\*\n', part):
            default = re.search(r'Default:\s+(?:``([^`]+)``|([^\s`,]+?)(?:\.$|\.\n|,| ))', part)
            documented[section, m[1]] = default[1] or default[2] if default else None
    compare('key', keys, set(documented), f'{name}(5)')
    installed, section = {}, None
    for line in read(f'config/{name}').split('\n'):
        if m := re.fullmatch(r'\[(\w+)\]', line):
            section = m[1]
        elif m := re.fullmatch(r'#(\w+)=(.*)', line):
            installed[section, m[1]] = m[2]
    compare('key', keys, set(installed), f'config/{name}')
    for key, value in installed.items():
        if value and documented.get(key) != value:
            problem(f'the default of {key} is {value} in config/{name}, {documented.get(key)} in {name}(5)')


def check_heroctl():
    man, bash, zsh = read('docs/man/heroctl.1.rst'), read('completion/bash/heroctl'), read('completion/zsh/_heroctl')
    usage = heroctl('--help')
    verbs = set(re.findall(r'^  ((?:image )?[a-z-]+)  ? *(?=[A-Z[])', usage.split('Options of all')[0], re.M))
    documented = dict(re.findall(r'^\*\*((?:image )?[a-z-]+)\*\*(?:[ \\].*|)$\n((?:    .*\n|\n(?=    ))+)', man, re.M))
    compare('verb', verbs, set(documented), 'heroctl(1)')
    common = long_options(usage)
    everything = set(common)
    for verb in verbs:
        own = long_options(heroctl(*verb.split(), '--help')) - common
        everything |= own
        if verb == 'provision':  # described as "those of create but --user"
            own = {'--name'}
            for text in [documented[verb]]:
                compare(f'option of {verb}', own | {'--user'}, set(re.findall(r'\*\*(--[a-z-]+)\*\*', text)), 'heroctl(1)')
            continue
        text = documented.get(verb, '').split('Option', 1)
        mentioned = set(re.findall(r'\*\*(--[a-z-]+)\*\*', text[1])) if len(text) > 1 else set()
        if own or mentioned:
            compare(f'option of {verb}', own, mentioned, 'heroctl(1)')
        for word in verb.split():
            if not re.search(rf'\b{word}\b', bash) or not re.search(rf'\b{word}\b', zsh):
                problem(f'verb {verb} is not completed')
    described = set(re.findall(r'``(--[a-z-]+)', man.split('OPTIONS\n=', 1)[1]))
    compare('option', everything, described, 'OPTIONS of heroctl(1)')
    words = r'(?<![\w-])(--[a-z][a-z-]*)'
    compare('option', everything, set(re.findall(words, bash)) - {'--'}, 'the completion for bash')
    compare('option', everything, set(re.findall(words, zsh)), 'the completion for zsh')


def check_statuses():
    header = read('src/ctl/heroctl.h')
    statuses = set(re.findall(r'STATUS_\w+ = (\d+)', header))
    section = man_section('heroctl.1', 'EXIT STATUS')
    documented = set(re.findall(r'^(\d+(?:, \d+)*)', section, re.M))
    documented = {n for group in documented for n in group.split(', ')} - {'126', '127', '130'}
    compare('exit status', statuses, documented, 'heroctl(1)')


def man_section(page, title):
    text = read(f'docs/man/{page}.rst')
    return re.split(r'\n[A-Z ]+\n=+\n', text.split(f'\n{title}\n', 1)[1].split('\n', 1)[1])[0]


def check_states():
    states = set(re.search(r'<!-- (pending[a-z\s-]+?)-->', read('dbus/org.hero.Compute.VM.xml'))[1].split())
    compare('state', states, literals(man_section('hero-compute.7', 'STATES'), '[a-z-]+'), 'hero-compute(7)')
    for path in ('completion/bash/heroctl', 'completion/zsh/_heroctl'):
        for state in states:
            if not re.search(rf'(?<![\w-]){state}(?![\w-])', read(path)):
                problem(f'state {state} is not in {path}')


def check_actions():
    actions = set()
    for path in glob.glob(f'{source}/polkit/*.policy*'):
        with open(path, encoding='utf-8') as f:
            actions |= set(re.findall(r'<action id="([\w.-]+)"', f.read()))
    for path in glob.glob(f'{source}/src/*/*.[ch]'):
        with open(path, encoding='utf-8') as f:
            actions |= set(re.findall(r'^#define ACTION_\w+ "([\w.-]+)"', f.read(), re.M))
    compare('action', actions, set(re.findall(r'^``(org\.hero\.compute\.[\w-]+)``$', read('docs/man/hero-compute.7.rst'),
                                              re.M)), 'hero-compute(7)')


def check_mock():
    script = re.search(r'/\* What a mock VMM.*?\*/', read('src/hypervisor/mock/mock-script.h'), re.S)[0]
    there = set(re.findall(r'^ \*     ([a-z-]+=?)', script, re.M))
    compare('directive', there, set(re.findall(r'^``([a-z-]+=?)``', read('docs/man/hero-mock-vmm.8.rst'), re.M)),
            'hero-mock-vmm(8)')


def check_programs():
    """Every program has a page, and hero-compute(7) names it."""
    overview, programs = read('docs/man/hero-compute.7.rst'), set()
    for path in glob.glob(f'{source}/src/*/meson.build'):
        with open(path, encoding='utf-8') as f:
            programs |= set(re.findall(r"(?:executable|custom_target)\('(hero[a-z-]*)'", f.read()))
    if 'hero-computed' not in programs:
        problem('no programs found: this check looks for them in the wrong way')
    for name in sorted(programs):
        pages = [p.split('/')[-1] for p in glob.glob(f'{source}/docs/man/{name}.*rst')]
        if not pages:
            problem(f'{name} has no manual page')
        if f'**{name}' not in overview:
            problem(f'{name} is not in hero-compute(7)')
    units = {p.split('/')[-1].removesuffix('.in') for p in glob.glob(f'{source}/units/*.service*')}
    for name in sorted(units):
        if not any(name in read(f'docs/man/{p.split("/")[-1]}') for p in glob.glob(f'{source}/docs/man/*.service.8.rst')):
            problem(f'{name} is in no manual page')


def check_pages():
    """Every page is built, and every page of ours that another one names is there."""
    pages = {p.split('/')[-1].removesuffix('.rst') for p in glob.glob(f'{source}/docs/man/*.rst')}
    built = {f'{a}.{b}' for a, b in re.findall(r"\['([\w.-]+)', '(\d)'\]", read('docs/man/meson.build'))}
    compare('page', pages, built | {'org.hero.Compute.5'}, 'docs/man/meson.build')
    for page in pages:
        for name, section in re.findall(r'\*\*([\w.-]+)\*\*\\\((\d)\)', read(f'docs/man/{page}.rst')):
            if re.match('hero|org.hero|compute|images|rpc|metrics', name) and f'{name}.{section}' not in pages:
                problem(f'{page} refers to {name}({section}), which does not exist')


source, program = sys.argv[1:]
check_configuration('compute.conf', 'src/compute/compute-config.c')
check_configuration('images.conf', 'src/imaged/images-config.c')
check_configuration('metrics.conf', 'src/metricsd/metrics-config.c')
check_configuration('rpc.conf', 'src/rpcd/rpc-config.c', r'KEY\("(\w+)", "(\w+)", ')
for check in (check_bus, check_errors, check_heroctl, check_statuses, check_states, check_actions,
              check_mock, check_programs, check_pages):
    check()
for text in problems:
    print(text)
sys.exit(bool(problems))
