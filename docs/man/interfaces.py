#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the interfaces of dbus/*.xml, with the comments in them, into a manual page: the contract is written once.

    interfaces.py TEMPLATE OUTPUT XML…

A line ".. interfaces" of the template is replaced."""

import re
import sys
import xml.dom.minidom

EMITS = {'const': 'constant', 'false': 'changes are not announced', 'invalidates': 'changes are announced without the value',
         'true': 'changes are announced'}


def escape(text):
    return re.sub(r'([\\*`|_])', r'\\\1', text)


def comment_lines(comment):
    """The lines of a comment, without the indentation that they have in common."""
    lines = [line.rstrip() for line in comment.strip().split('\n')]
    indents = [len(line) - len(line.lstrip()) for line in lines[1:] if line]
    return [lines[0].strip(), *(line[min(indents):] for line in lines[1:])]


def to_rst(comment, indent):
    """Paragraphs as paragraphs; what is indented deeper as it stands."""
    out, literal = [], False
    for line in comment_lines(comment):
        deep = line.startswith('  ')
        if deep and not literal:
            out += ['', '::', '']
        elif literal and line and not deep:
            out += ['']
        if line:
            literal = deep
        out.append((indent + '    ' + line.strip() if deep else indent + escape(line.strip())) if line else '')
    return [indent + line if line == '::' else line for line in out]


def arguments(element, direction):
    found = [f'{a.getAttribute("type")} {escape(a.getAttribute("name"))}' for a in element.getElementsByTagName('arg')
             if (a.getAttribute('direction') or 'out') == direction]
    return '(' + ', '.join(found) + ')' if found else ''


def heading(element):
    name = escape(element.getAttribute('name'))
    if element.tagName == 'method':
        out = arguments(element, 'out')
        return f'**{name}** {arguments(element, "in") or "()"}' + (f' → {out}' if out else '')
    if element.tagName == 'signal':
        return f'**{name}** {arguments(element, "out") or "()"}'
    emits = 'true'
    for a in element.getElementsByTagName('annotation'):
        if a.getAttribute('name').endswith('EmitsChangedSignal'):
            emits = a.getAttribute('value')
    return f'**{name}** {element.getAttribute("type")}, {EMITS[emits]}'


def interface(node, about):
    """The reference of one interface; about is the comment before the node."""
    name = node.getAttribute('name')
    out = [name, '=' * len(name), '', *to_rst(about, ''), '']
    for tag, title in (('method', 'Methods'), ('signal', 'Signals'), ('property', 'Properties')):
        elements = [e for e in node.childNodes if getattr(e, 'tagName', None) == tag]
        if not elements:
            continue
        out += [title, '-' * len(title), '']
        for e in elements:
            before = e.previousSibling
            while before is not None and before.nodeType == before.TEXT_NODE and not before.data.strip():
                before = before.previousSibling
            out.append(heading(e))
            if before is not None and before.nodeType == before.COMMENT_NODE:
                out += to_rst(before.data, '    ')
            out.append('')
    return out


def read(path):
    document = xml.dom.minidom.parse(path)
    comments = [n.data for n in document.childNodes if n.nodeType == n.COMMENT_NODE and 'SPDX' not in n.data]
    nodes = document.getElementsByTagName('interface')
    return [line for node in nodes for line in interface(node, comments[-1])]


def main(template, output, *paths):
    with open(template, encoding='utf-8') as f:
        lines = f.read().split('\n')
    at = lines.index('.. interfaces')
    lines[at:at + 1] = [line for path in paths for line in read(path)]
    with open(output, 'w', encoding='utf-8') as f:
        f.write('\n'.join(lines))


if __name__ == '__main__':
    main(*sys.argv[1:])
