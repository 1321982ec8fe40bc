// The least that a decision can be in Go: Envoy's ext_authz on a Unix socket, which reads the model of a chat
// completion and lets every call pass with one header. It counts nothing and knows nobody: `make bench` puts it on the
// same hop as Tollway's decision, to say what the hop alone costs a compiled language.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// An Envoy's own default of 4 MiB would refuse the largest bodies that are measured, wrapped as they are.
const largestQuestion = 40 << 20

type server struct {
	auth.UnimplementedAuthorizationServer
}

func (server) Check(_ context.Context, asked *auth.CheckRequest) (*auth.CheckResponse, error) {
	var body struct {
		Model string `json:"model"`
	}
	if err := json.Unmarshal(asked.GetAttributes().GetRequest().GetHttp().GetRawBody(), &body); err != nil || body.Model == "" {
		return denied(), nil
	}
	return granted(body.Model), nil
}

func granted(model string) *auth.CheckResponse {
	header := &core.HeaderValueOption{Header: &core.HeaderValue{Key: "x-model", Value: model}}
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{
			OkResponse: &auth.OkHttpResponse{Headers: []*core.HeaderValueOption{header}},
		},
	}
}

func denied() *auth.CheckResponse {
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.InvalidArgument)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{
			DeniedResponse: &auth.DeniedHttpResponse{Status: &envoytype.HttpStatus{Code: envoytype.StatusCode_BadRequest}},
		},
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go_authz SOCKET")
	}
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer(grpc.MaxRecvMsgSize(largestQuestion))
	auth.RegisterAuthorizationServer(serving, server{})
	log.Fatal(serving.Serve(listener))
}
