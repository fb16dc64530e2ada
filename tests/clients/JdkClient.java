// The JDK's own HTTP client, as Spring AI and langchain4j use it: it offers h2c with every request.
// java JdkClient.java URL

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

class JdkClient {
    static final int[] SIZES = {1, 100_000};

    static BodyPublisher body(int size, boolean stream, boolean chunked) {
        String text =
            "{\"prompt\": \"" + "a".repeat(size) + "\", \"stream\": " + stream
                + ", \"stream_options\": {\"include_usage\": true}}";
        if (!stream) {
            text = "{\"prompt\": \"" + "a".repeat(size) + "\"}";
        }
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return chunked
            ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes))
            : BodyPublishers.ofByteArray(bytes);
    }

    static HttpRequest request(String url, BodyPublisher body) {
        return HttpRequest.newBuilder(URI.create(url + "/v1/completions"))
            .header("content-type", "application/json")
            .POST(body)
            .build();
    }

    static void print(HttpResponse<String> response) {
        System.out.println(
            response.statusCode() + "\t" + response.version() + "\t"
                + response.body().replace("\n", "\\n"));
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        for (HttpClient.Version version : HttpClient.Version.values()) {
            HttpClient client = HttpClient.newBuilder().version(version).build();
            for (int size : SIZES) {
                for (boolean stream : new boolean[] {false, true}) {
                    for (boolean chunked : new boolean[] {false, true}) {
                        HttpRequest request = request(url, body(size, stream, chunked));
                        print(client.send(request, BodyHandlers.ofString()));
                    }
                }
            }
        }
        HttpClient client = HttpClient.newHttpClient();
        List<CompletableFuture<HttpResponse<String>>> together =
            IntStream.range(0, 8)
                .mapToObj(each -> request(url, body(1000, false, each % 2 == 0)))
                .map(each -> client.sendAsync(each, BodyHandlers.ofString()))
                .collect(Collectors.toList());
        for (CompletableFuture<HttpResponse<String>> each : together) {
            print(each.join());
        }
    }
}
