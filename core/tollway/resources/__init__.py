"""What users declare: the resources of `tollway.dev/v1alpha1` as values, and the strict way from YAML to them.

Belongs here: the models, parsing with every limit and every problem found, sentences on what a sound set of
resources means in practice (`notices`). Does not belong here: reading files, watching a cluster, deciding about
calls. The schema that users see is `crds/`; `tests/crds` holds the files on which both must agree.
"""
