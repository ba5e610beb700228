"""`paranoid-install verify`: whether a machine is what the policy says. Never changes anything.

Facts are gathered at the edge (gather, files, programs) into a Machine; checks are pure functions
of it; judge makes findings of them; report, html, sarif, junit and ui.findings show those.
"""
