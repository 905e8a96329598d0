// Istio's own client of the certificate service, for the tests: it asks as Istio's agent does, with Istio's code for
// everything between the token and the files of a certificate, or as ztunnel does, for somebody else.
//
// Exit codes: 0 the files are in -out; 1 it was refused, as standard error says; 2 wrong usage.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	pb "istio.io/api/security/v1alpha1"
	istiogrpc "istio.io/istio/pilot/pkg/grpc"
	"istio.io/istio/pkg/security"
	"istio.io/istio/pkg/spiffe"
	"istio.io/istio/security/pkg/credentialfetcher/plugin"
	"istio.io/istio/security/pkg/nodeagent/cache"
	"istio.io/istio/security/pkg/nodeagent/caclient"
	"istio.io/istio/security/pkg/nodeagent/caclient/providers/citadel"
	nodeagent "istio.io/istio/security/pkg/nodeagent/util"
	pki "istio.io/istio/security/pkg/pki/util"
)

func main() {
	var (
		options     security.Options
		tlsOptions  citadel.TLSOptions
		token       string
		impersonate string
	)
	flag.StringVar(&options.CAEndpoint, "address", "", "HOST:PORT of the certificate service")
	flag.StringVar(&options.CAEndpointSAN, "server-name", "istiod.istio-system.svc", "what its certificate names")
	flag.StringVar(&tlsOptions.RootCert, "roots", "", "file of the roots that its certificate leads to")
	flag.StringVar(&token, "token", "", "file of the caller's token")
	flag.StringVar(&tlsOptions.Cert, "cert", "", "file of the caller's certificate")
	flag.StringVar(&tlsOptions.Key, "key", "", "file of its key")
	flag.StringVar(&options.TrustDomain, "trust-domain", "cluster.local", "of the name in the signing request")
	flag.StringVar(&options.WorkloadNamespace, "namespace", "", "the same")
	flag.StringVar(&options.ServiceAccount, "account", "", "the same")
	flag.StringVar(&options.ECCSigAlg, "algorithm", "ECDSA", "of the key; empty for RSA")
	flag.DurationVar(&options.SecretTTL, "life", time.Hour, "how long the certificate shall live")
	flag.StringVar(&options.OutputKeyCertToDir, "out", "", "folder for key.pem, cert-chain.pem and root-cert.pem")
	flag.StringVar(&impersonate, "impersonate", "", "SPIFFE id of the workload to ask for, in place of the caller's own")
	flag.Parse()
	if options.CAEndpoint == "" || options.OutputKeyCertToDir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	options.WorkloadRSAKeySize = 2048
	options.CredFetcher = plugin.CreateTokenPlugin(token)

	var err error
	if impersonate == "" {
		err = asAgent(&options, &tlsOptions)
	} else {
		err = asZtunnel(&options, &tlsOptions, impersonate)
	}
	if err == nil {
		out := options.OutputKeyCertToDir
		_, err = tls.LoadX509KeyPair(filepath.Join(out, "cert-chain.pem"), filepath.Join(out, "key.pem"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// asAgent gets the two secrets that an agent serves to its Envoy, by the agent's own way.
func asAgent(options *security.Options, tlsOptions *citadel.TLSOptions) error {
	client, err := citadel.NewCitadelClient(options, tlsOptions)
	if err != nil {
		return err
	}
	manager, err := cache.NewSecretManagerClient(client, options)
	if err != nil {
		return err
	}
	defer manager.Close()
	for _, name := range []string{security.WorkloadKeyCertResourceName, security.RootCertReqResourceName} {
		if _, err := manager.GenerateSecret(name); err != nil {
			return err
		}
	}
	return nil
}

// asZtunnel asks for a workload of its node. ztunnel is no Go program: the words of the request are its own, the
// connection, the token and the retries are those of Istio's other clients.
func asZtunnel(options *security.Options, tlsOptions *citadel.TLSOptions, impersonate string) error {
	dial, err := istiogrpc.ClientOptions(nil, &istiogrpc.TLSOptions{
		RootCert: tlsOptions.RootCert, Key: tlsOptions.Key, Cert: tlsOptions.Cert,
		ServerAddress: options.CAEndpoint, SAN: options.CAEndpointSAN,
	})
	if err != nil {
		return err
	}
	dial = append(dial, grpc.WithPerRPCCredentials(caclient.NewDefaultTokenProvider(options)), security.CARetryInterceptor())
	connection, err := grpc.NewClient(options.CAEndpoint, dial...)
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := spiffe.ParseIdentity(impersonate); err != nil {
		return err
	}
	request, key, err := pki.GenCSR(pki.CertOptions{
		Host: impersonate, ECSigAlg: pki.SupportedECSignatureAlgorithms(options.ECCSigAlg),
	})
	if err != nil {
		return err
	}
	wanted := structpb.NewStringValue(impersonate)
	response, err := pb.NewIstioCertificateServiceClient(connection).CreateCertificate(
		context.Background(),
		&pb.IstioCertificateRequest{
			Csr:              string(request),
			ValidityDuration: int64(options.SecretTTL.Seconds()),
			Metadata:         &structpb.Struct{Fields: map[string]*structpb.Value{security.ImpersonatedIdentity: wanted}},
		},
	)
	if err != nil {
		return err
	}
	if len(response.CertChain) < 2 {
		return errors.New("there is no root at the end of the chain")
	}
	roots := response.CertChain[len(response.CertChain)-1]
	chain := strings.Join(response.CertChain, "")
	return nodeagent.OutputKeyCertToDir(options.OutputKeyCertToDir, key, []byte(chain), []byte(roots))
}
