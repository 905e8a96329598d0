"""Values that the charts are rendered with: each branch of each template is taken by one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHARTS = Path(__file__).parents[2] / "deploy" / "charts"

VALUE_SETS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", {}),
    "base-without-crds": ("base", {"enableCRDs": False}),
    "control-plane": ("control-plane", {}),
    "control-plane-canary": (
        "control-plane",
        {
            "revision": "canary",
            "revisionTags": ["default", "prod"],
            "meshConfig": {
                "accessLogFile": "/dev/stdout",
                "trustDomain": "example.com",
                "defaultConfig": {"concurrency": 2, "proxyMetadata": {"A": "true", "B": "*", "C": "10"}},
            },
            "pilot": {
                "autoscaleEnabled": False,
                "replicaCount": 3,
                "secretNamespaces": ["ingress", "shop"],
                "plaintextXds": True,
                "externalSigner": "issuers.cert-manager.io/mesh",
                "signerRootsConfigMap": "signer-roots",
                "maxStreams": 2000000,
                "listenAddress": "[::]",
                "image": "registry.example.com/own/dragoman@sha256:0000",
                "env": {"SOME": "1"},
                "extraArgs": ["--jwks-blocked-cidr=192.0.2.0/24"],
                "trustedGatewayCIDRs": ["192.0.2.1/32"],
                "trustedNodeAccounts": ["istio-system/ztunnel"],
                "podAnnotations": {"note": "yes"},
                "podLabels": {"team": "mesh"},
                "serviceAnnotations": {"note": "no"},
                "serviceAccountAnnotations": {"note": "on"},
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"podAntiAffinity": {}},
                "topologySpreadConstraints": [
                    {"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
                ],
                "podDisruptionBudget": {"minAvailable": "50%"},
            },
            "monitoring": {
                "serviceMonitor": {"enabled": True},
                "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                "rules": {"enabled": True, "labels": {"release": "prometheus"}},
                "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Mesh"}},
            },
            "sidecarInjectorWebhook": {
                "enableNamespacesByDefault": True,
                "neverInjectSelector": [{"matchLabels": {"a": "b"}}],
                "alwaysInjectSelector": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
                "injectedAnnotations": {"a": "b"},
                "templates": {"own": {"spec": {"priority": 1}}, "text": "spec:\n  priority: 2\n"},
                "defaultTemplates": ["sidecar", "own"],
            },
            "validationPolicies": {"stableChannel": True},
            "cni": {"enabled": True, "cniConfFileName": "10-net.conflist", "excludeNamespaces": ["kube-system", "x"]},
            "global": {
                "tag": 1.5,
                "imagePullPolicy": "Always",
                "imagePullSecrets": ["registry"],
                "priorityClassName": "system-cluster-critical",
                "logAsJson": False,
                "logging": {"level": "debug"},
                "meshID": "mesh1",
                "network": "network1",
                "proxy": {"excludeInboundPorts": 8080, "resources": {"limits": None}},
            },
        },
    ),
    "control-plane-small": (
        "control-plane",
        {
            "validationWebhook": {"enabled": False},
            "validationPolicies": {"placement": False},
            "pilot": {"podDisruptionBudget": {"enabled": False}},
            "global": {"hub": "registry.example.com/mesh", "tag": "v1", "networkPolicy": {"enabled": False}},
        },
    ),
    "gateway": ("gateway", {}),
    "gateway-daemon-set": (
        "gateway",
        {
            "kind": "DaemonSet",
            "name": "istio-egressgateway",
            "revision": "canary",
            "env": {"A": "true"},
            "rbac": {"enabled": False},
            "serviceAccount": {"create": False, "name": "own"},
            "podDisruptionBudget": {"enabled": False},
            "service": {
                "type": "ClusterIP",
                "annotations": {"a": "b"},
                "ipFamilyPolicy": "PreferDualStack",
                "ports": [{"name": "https", "port": 443, "targetPort": 8443}],
            },
        },
    ),
    "gateway-dressed": (
        "gateway",
        {
            "autoscaling": {"enabled": False},
            "service": {
                "loadBalancerClass": "example.com/lb",
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
                "externalTrafficPolicy": "Local",
            },
            "serviceAccount": {"annotations": {"a": "b"}},
            "labels": {"a": "b"},
            "annotations": {"a": "b"},
            "podAnnotations": {"a": "b"},
            "podLabels": {"a": "b"},
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"podAffinity": {}},
            "topologySpreadConstraints": [
                {"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "imagePullSecrets": ["registry"],
            "priorityClassName": "system-cluster-critical",
        },
    ),
}
"""By name: the chart and its values."""
