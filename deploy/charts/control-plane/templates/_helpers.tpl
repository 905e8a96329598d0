{{- define "revision" -}}
{{ .Values.revision | default "default" }}
{{- end -}}

{{- /* Ends the names of what each revision has for itself; nothing for the default one. */ -}}
{{- define "suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") -}}-{{ .Values.revision }}{{- end -}}
{{- end -}}

{{- /* In another namespace it is another mesh, which must not take this one's cluster-wide names. */ -}}
{{- define "namespaceSuffix" -}}
{{- if ne .Release.Namespace "istio-system" -}}-{{ .Release.Namespace }}{{- end -}}
{{- end -}}

{{- define "injectorSuffix" -}}
{{ include "suffix" . }}{{ include "namespaceSuffix" . }}
{{- end -}}

{{- define "name" -}}
istiod{{ include "suffix" . }}
{{- end -}}

{{- define "image" -}}
{{- $tag := .Values.global.tag | default .Chart.AppVersion -}}
{{- if contains "/" .Values.pilot.image -}}
{{ .Values.pilot.image }}
{{- else if .Values.global.hub -}}
{{ .Values.global.hub }}/{{ .Values.pilot.image }}:{{ $tag }}
{{- else -}}
{{ .Values.pilot.image }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- define "selector" -}}
app: istiod
istio.io/rev: {{ include "revision" . }}
{{- end -}}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/name: istiod
app.kubernetes.io/part-of: dragoman
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
