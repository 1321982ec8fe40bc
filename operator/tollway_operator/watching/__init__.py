"""What the operator knows of the cluster, and how it learns it.

`facts` is what is kept of each object, read out of it once (no Secret's key among it); `store` keeps it; `feeds`
is kopf, which watches; `listing` reads everything again now and then, because a watch can miss something and say
nothing. Deciding what follows from it belongs to `reconciling`.
"""
