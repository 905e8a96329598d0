"""Fields that mean the same wherever they stand."""

TEXTS = """
*
    selector: Which workloads this is for, by their labels; without one, all of the namespace.
    workloadSelector: Which workloads of the namespace this is for, by their labels; without one, all of them.
    targetRef: The object that this is attached to, instead of a selector. Older form of targetRefs.
    targetRefs: The objects that this is attached to, instead of a selector.
    exportTo: Who sees this: . for its own namespace, * for all, ~ for nobody, or names of namespaces.
    gateways: Where this holds: names of Gateways (name or namespace/name), and mesh for the sidecars.
    host: A service by its name in the mesh; short names are completed with the namespace of the object.
    credentialName: The name of the Secret with certificate, key and perhaps CA.
WorkloadSelector
    matchLabels: Labels that a workload must have, all of them.
NetworkingWorkloadSelector
    labels: Labels that a workload must have, all of them.
PolicyTargetReference
    group: The API group of the object; empty for Kubernetes' core group.
    kind: The kind of the object, such as Gateway or Service.
    name: The name of the object.
    namespace: Must be empty: targets are in the policy's own namespace.
"""
