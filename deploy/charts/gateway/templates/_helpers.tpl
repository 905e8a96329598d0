{{- define "name" -}}
{{ .Values.name | default .Release.Name }}
{{- end -}}

{{- define "serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "name" .) }}
{{- end -}}

{{- define "selector" -}}
app: {{ include "name" . }}
istio: {{ include "name" . | trimPrefix "istio-" }}
{{- end -}}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/name: {{ include "name" . }}
app.kubernetes.io/part-of: dragoman
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
