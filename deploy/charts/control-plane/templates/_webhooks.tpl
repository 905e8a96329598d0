{{- define "webhook.client" -}}
clientConfig:
  # caBundle is kept by the control plane, as its root rotates.
  service:
    name: {{ include "name" .root }}
    namespace: {{ .root.Release.Namespace }}
    path: {{ .path }}
    port: 443
{{- end -}}

{{- /* One webhook of the injector: .root, .title, .namespaces and .objects (lists of match expressions). */ -}}
{{- define "webhook.injector" }}
- name: {{ .title }}.sidecar-injector.istio.io
  {{- include "webhook.client" (dict "root" .root "path" "/inject") | nindent 2 }}
  rules:
    - operations: [CREATE]
      apiGroups: [""]
      apiVersions: [v1]
      resources: [pods]
      scope: Namespaced
  sideEffects: None
  admissionReviewVersions: [v1]
  # A pod that asked for a sidecar must not run without it.
  failurePolicy: Fail
  matchPolicy: Equivalent
  reinvocationPolicy: {{ .root.Values.sidecarInjectorWebhook.reinvocationPolicy }}
  timeoutSeconds: {{ .root.Values.sidecarInjectorWebhook.timeoutSeconds }}
  namespaceSelector:
    matchExpressions:
      {{- toYaml .namespaces | nindent 6 }}
  objectSelector:
    matchExpressions:
      {{- toYaml .objects | nindent 6 }}
{{- end -}}

{{- /* The webhooks that have the pods of a revision or tag, .name. */ -}}
{{- define "webhook.injectors" }}
{{- $rev := dict "key" "istio.io/rev" "operator" "In" "values" (list .name) }}
{{- $noRev := dict "key" "istio.io/rev" "operator" "DoesNotExist" }}
{{- $on := dict "key" "istio-injection" "operator" "In" "values" (list "enabled") }}
{{- $unsaid := dict "key" "istio-injection" "operator" "DoesNotExist" }}
{{- $notRefused := dict "key" "sidecar.istio.io/inject" "operator" "NotIn" "values" (list "false") }}
{{- $asked := dict "key" "sidecar.istio.io/inject" "operator" "In" "values" (list "true") }}
{{- $silent := dict "key" "sidecar.istio.io/inject" "operator" "DoesNotExist" }}
{{- $system := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (list "kube-system" "kube-public" "kube-node-lease" "local-path-storage") }}
{{- include "webhook.injector" (dict "root" .root "title" "rev.namespace" "namespaces" (list $rev $unsaid) "objects" (list $notRefused)) }}
{{- include "webhook.injector" (dict "root" .root "title" "rev.object" "namespaces" (list $noRev $unsaid) "objects" (list $notRefused $rev)) }}
{{- if eq .name "default" }}
{{- include "webhook.injector" (dict "root" .root "title" "namespace" "namespaces" (list $on) "objects" (list $notRefused)) }}
{{- include "webhook.injector" (dict "root" .root "title" "object" "namespaces" (list $unsaid $noRev) "objects" (list $asked $noRev)) }}
{{- if .root.Values.sidecarInjectorWebhook.enableNamespacesByDefault }}
{{- include "webhook.injector" (dict "root" .root "title" "auto" "namespaces" (list $unsaid $noRev $system) "objects" (list $silent $noRev)) }}
{{- end }}
{{- end }}
{{- end -}}
